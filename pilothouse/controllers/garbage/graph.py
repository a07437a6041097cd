"""Who owns whom, by UID, as seen through watches of everything that can be deleted.

A node is *virtual* while it is known only because something names it as its owner. Every change returns the UIDs that must be looked
at again; nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api import meta
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

Owner = Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Node:
    """One object. `gvr` is None for a virtual node whose resource is not resolved yet."""

    uid: str
    api_version: str
    kind: str
    namespace: str
    name: str
    gvr: GVR | None = None
    is_virtual: bool = False
    resource_version: str = ""
    owners: Sequence[Owner] = ()
    finalizers: Sequence[str] = ()
    is_deleting: bool = False
    dependents: set[str] = field(default_factory=set)

    @property
    def waits_for_dependents(self) -> bool:
        return self.is_deleting and FOREGROUND in self.finalizers

    @property
    def orphans_dependents(self) -> bool:
        return self.is_deleting and ORPHAN in self.finalizers

    def reference_to(self, uid: str) -> Owner | None:
        return next((owner for owner in self.owners if owner["uid"] == uid), None)

    def is_blocking(self, owner: Node) -> bool:
        """Whether `owner`'s deletion in the foreground waits for this one."""
        reference = self.reference_to(owner.uid)
        return reference is not None and bool(reference.get("blockOwnerDeletion"))

    def is_meant_by(self, owner: Owner) -> bool:
        return bool(
            self.name == owner["name"]
            and self.kind == owner["kind"]
            and self.api_version.rpartition("/")[0] == owner["apiVersion"].rpartition("/")[0]
        )


class Graph:
    """All nodes."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def get(self, uid: str) -> Node | None:
        return self._nodes.get(uid)

    def __len__(self) -> int:
        return len(self._nodes)

    def dependents(self, node: Node) -> list[Node]:
        return [self._nodes[uid] for uid in node.dependents if uid in self._nodes]

    def observe(self, gvr: GVR, obj: Object) -> Iterable[str]:
        """`obj` was seen as it is now; returns what must be looked at."""
        metadata = obj["metadata"]
        uid = metadata["uid"]
        node = self._nodes.get(uid)
        if node is None or node.is_virtual:
            dependents = node.dependents if node is not None else set()
            node = Node(uid, gvr.api_version, gvr.kind, meta.namespace_of(obj), meta.name_of(obj), gvr)
            node.dependents = dependents
            self._nodes[uid] = node
        before_owners, was_waiting, was_orphaning = node.owners, node.waits_for_dependents, node.orphans_dependents
        node.resource_version = metadata.get("resourceVersion", "")
        node.owners = meta.owners_of(obj)
        node.finalizers = metadata.get("finalizers") or ()
        node.is_deleting = meta.is_deleting(obj)
        affected = set(self._relink(node, before_owners))
        if node.waits_for_dependents:
            affected.add(uid)
            if not was_waiting:
                affected.update(node.dependents)
        if node.orphans_dependents and not was_orphaning:
            affected.add(uid)
        return affected

    def forget(self, uid: str) -> Iterable[str]:
        """The object is gone; returns what must be looked at."""
        node = self._nodes.pop(uid, None)
        if node is None:
            return ()
        affected = set(node.dependents)
        for owner_uid in {owner["uid"] for owner in node.owners}:
            owner = self._nodes.get(owner_uid)
            if owner is None:
                continue
            owner.dependents.discard(uid)
            if owner.waits_for_dependents:
                affected.add(owner_uid)
            if owner.is_virtual and not owner.dependents:
                del self._nodes[owner_uid]
        if node.dependents:
            # Those that name it still do so: a virtual node keeps them together.
            ghost = Node(uid, node.api_version, node.kind, node.namespace, node.name, node.gvr, is_virtual=True)
            ghost.dependents = node.dependents
            self._nodes[uid] = ghost
        return affected

    def _relink(self, node: Node, before: Sequence[Owner]) -> Iterable[str]:
        old = {owner["uid"]: owner for owner in before}
        new = {owner["uid"]: owner for owner in node.owners}
        for uid in old.keys() - new.keys():
            if (owner := self._nodes.get(uid)) is not None:
                owner.dependents.discard(node.uid)
                if owner.waits_for_dependents:
                    yield uid
                if owner.is_virtual and not owner.dependents:
                    del self._nodes[uid]
        for uid in new.keys() - old.keys():
            reference = new[uid]
            known = self._nodes.get(uid)
            if known is None:
                known = Node(
                    uid, reference["apiVersion"], reference["kind"], node.namespace, reference["name"], is_virtual=True
                )
                self._nodes[uid] = known
            known.dependents.add(node.uid)
            # An owner that is not there, is going, or is another object than the reference says has to be looked into.
            is_elsewhere = bool(known.namespace) and known.namespace != node.namespace
            if known.is_virtual or known.waits_for_dependents or is_elsewhere or not known.is_meant_by(reference):
                yield node.uid
        for uid in new.keys() & old.keys():
            unblocked = old[uid].get("blockOwnerDeletion") and not new[uid].get("blockOwnerDeletion")
            if unblocked and (known := self._nodes.get(uid)) is not None and known.waits_for_dependents:
                yield uid
