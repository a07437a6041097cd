"""One write and who owns what after it.

A `Tracker` stands for a kind at a version, written through the object or one of its subresources. `update` is for creating, replacing
and patching: whoever changes a field becomes its owner. `apply` merges a configuration, in which its author says all that he wants to
own: fields that he no longer names go, and fields of others are only taken by force. Source: apimachinery `pkg/util/managedfields`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pilothouse.api.apply import last_applied, sets
from pilothouse.api.apply.check import joined, problems
from pilothouse.api.apply.conflicts import conflict
from pilothouse.api.apply.owners import (
    APPLY,
    UPDATE,
    Owner,
    capped,
    checked,
    entry_of,
    in_order,
    is_reset,
    owner_of,
    with_fields,
)
from pilothouse.api.apply.resets import Resets
from pilothouse.api.apply.sets import FieldSet
from pilothouse.api.apply.structs import StructNode
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object, format_time
from pilothouse.api.status import BadRequest, StatusError
from pilothouse.api.view import json_copy

BEFORE_FIRST_APPLY = "before-first-apply"
_NOBODYS = frozenset({
    "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields", "resourceVersion",
})  # fmt: skip
"""Fields of the metadata that nobody owns."""
_STRIPPED: FieldSet = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {".": {}, **{f"f:{name}": {} for name in sorted(_NOBODYS)}},
}
_TYPE = frozenset({"apiVersion", "kind"})


class Versions(Protocol):
    """The versions in which a kind is served."""

    def node(self, version: str) -> StructNode | None:
        """How objects at an apiVersion are owned; None for one that is not served."""

    def convert(self, obj: Object, source: str, target: str) -> Object:
        """The object at another apiVersion; may share parts with it."""


class Tracker:
    """Keeps `metadata.managedFields` for writes of one kind at one version through one door."""

    def __init__(
        self, gvr: GVR, versions: Versions, empty: Object, *, subresource: str = "", resets: Resets | None = None
    ) -> None:
        node = versions.node(gvr.api_version)
        assert node is not None
        self.gvr = gvr
        self._version = gvr.api_version
        self._node: StructNode = node
        self._versions = versions
        self._empty = {"metadata": {}, **empty}
        self._subresource = subresource
        self._resets = resets or Resets()
        self._ignored = _TYPE | self._resets.roots

    # Updates

    def update(self, live: Mapping[str, Any] | None, new: Object, manager: str, now: float) -> None:
        """Set the managedFields of `new`, with which `manager` replaces `live` (None: creates it), at the time `now`.

        `new` is as the client wants it, with its defaults, before admission; what it says of managedFields itself is taken into account.
        """
        metadata = new["metadata"]
        sent = metadata.pop("managedFields", None)
        present = live["metadata"].get("managedFields") if live is not None else None
        entries = self._continued(present, sent)
        if live is not None and not entries:
            return
        try:
            changed, removed = self._compare(self._node, self._empty if live is None else live, new)
            if changed or removed:
                entries = self._updated(entries, changed, removed, live, new, manager, now)
            if entries is not present:
                entries = in_order(capped(entries))
        except (ValueError, TypeError, AttributeError):
            # The object is not of its type, which validation will say; until then nobody owns anything.
            return
        if entries:
            metadata["managedFields"] = entries

    def _continued(self, present: list[Object] | None, sent: list[Object] | None) -> list[Object]:
        """The entries to go on from: those of the client, if it sent any that can be read, but for versions that are not served."""
        if sent is None or self._subresource or sent == present:
            return present or []
        if is_reset(sent):
            return []
        try:
            readable = checked(sent)
        except (ValueError, TypeError, AttributeError):
            return present or []
        if not readable:
            return present or []
        return [entry for entry in readable if self._versions.node(entry["apiVersion"]) is not None]

    def _updated(
        self,
        entries: list[Object],
        changed: FieldSet,
        removed: FieldSet,
        live: Mapping[str, Any] | None,
        new: Object,
        manager: str,
        now: float,
    ) -> list[Object]:
        own: Owner = (manager or "unknown", UPDATE, self._version, self._subresource)
        comparisons = {self._version: (changed, removed)}
        result: list[Object] = []
        mine: Object | None = None
        for entry in entries:
            compared = self._compared_at(entry["apiVersion"], comparisons, live, new)
            if compared is None:
                continue
            fields = sets.difference(entry["fieldsV1"], compared[1])
            if changed and owner_of(entry) == own:
                joined = sets.union(fields, changed)
                mine = entry if joined is entry["fieldsV1"] else with_fields(entry, joined)
                continue
            _add(result, entry, sets.difference(fields, compared[0]))
        if changed:
            time = format_time(now)
            result.append(entry_of(own, self._version, changed, time) if mine is None else {**mine, "time": time})
        return result

    def _compared_at(
        self,
        version: str,
        comparisons: dict[str, tuple[FieldSet, FieldSet]],
        live: Mapping[str, Any] | None,
        new: Object,
    ) -> tuple[FieldSet, FieldSet] | None:
        """What differs, in the terms of a version; None for one that is not served any more."""
        found = comparisons.get(version)
        if found is None:
            node = self._versions.node(version)
            if node is None:
                return None
            old = dict(live) if live is not None else self._empty
            found = comparisons[version] = self._compare(
                node,
                self._versions.convert(old, self._version, version),
                self._versions.convert(new, self._version, version),
            )
        return found

    def _compare(self, node: StructNode, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[FieldSet, FieldSet]:
        """The fields that are new or different, and those that are gone, without what nobody owns and what the write cannot reach."""
        changed: FieldSet = {}
        removed: FieldSet = {}
        node.compare(self._reached(old), self._reached(new), changed, removed)
        resets = self._resets
        if resets.within:
            changed, removed = resets.applied_to(changed), resets.applied_to(removed)
        return changed, removed

    def _reached(self, obj: Mapping[str, Any]) -> Object:
        ignored = self._ignored
        reached = {key: value for key, value in obj.items() if key not in ignored}
        if "metadata" in reached:
            nobodys = _NOBODYS
            reached["metadata"] = {key: value for key, value in reached["metadata"].items() if key not in nobodys}
        return reached

    # Apply

    def apply(self, live: Object | None, config: Object, manager: str, now: float, *, force: bool = False) -> Object:
        """`live` (None: there is nothing yet) with a configuration merged into it, and its managedFields.

        The result shares parts with both arguments and has yet to be loaded and defaulted. Raises Conflict for fields that others own,
        BadRequest or a StatusError for a configuration that is not one of the kind.
        """
        self._check(config)
        entries: list[Object] = []
        base = json_copy(self._empty) if live is None else self._empty
        if live is not None:
            base = {**live, "metadata": dict(live["metadata"])}
            entries = base["metadata"].pop("managedFields", [])
            if not entries:
                entries = self._unapplied(base, now)
        own: Owner = (manager, APPLY, "", self._subresource)
        last = next((entry for entry in entries if owner_of(entry) == own), None)
        others = [entry for entry in entries if entry is not last]
        fields = self._wanted(config)
        merged = self._node.merge(base, config)
        if last is not None and not sets.is_subset(last["fieldsV1"], fields):
            mine = entry_of(own, self._version, fields, None)
            merged = self._pruned(merged, last, [*others, mine])
        changed, removed = self._compare(self._node, base, merged)
        if changed and not force:
            self._check_conflicts(others, changed, removed, base, merged, manager)
        if changed or removed:
            others = self._taken(others, changed, removed, base, merged)
        is_same = live is not None and merged == base
        if is_same:
            merged = {**base, "metadata": dict(base["metadata"])}
        time = (last or {}).get("time") if is_same else format_time(now)
        if fields := sets.difference(fields, _STRIPPED):
            others = [*others, entry_of(own, self._version, fields, time)]
        if manager == last_applied.MANAGER:
            merged = last_applied.refreshed(merged, config)
        if others:
            merged["metadata"] = {**merged["metadata"], "managedFields": in_order(others)}
        return {**merged, "apiVersion": self._version, "kind": self.gvr.kind}

    def _check(self, config: Object) -> None:
        version, kind = config.get("apiVersion") or "", config.get("kind") or ""
        if version != self._version or kind != self.gvr.kind:
            slash = "" if "/" in str(version) else "/"
            raise BadRequest(f"invalid object type: {slash}{version}, Kind={kind}")
        metadata = config.get("metadata")
        if isinstance(metadata, dict) and metadata.pop("managedFields", None) is not None:
            raise BadRequest("metadata.managedFields must be nil")
        if found := problems(self._node.struct, config):
            name, namespace = (
                ("", "") if not isinstance(metadata, dict) else (metadata.get("name"), metadata.get("namespace"))
            )
            slash = "" if "/" in version else "/"
            raise StatusError(
                f"failed to create typed patch object ({namespace or ''}/{name or ''}; {slash}{version}, Kind={kind}): {joined(found)}",
                code=500,
            )
        if metadata is None:
            config["metadata"] = {}

    def _unapplied(self, base: Object, now: float) -> list[Object]:
        """The entry for all that was there before anybody's ownership was known."""
        changed, _ = self._compare(self._node, self._empty, base)
        owner: Owner = (BEFORE_FIRST_APPLY, UPDATE, self._version, self._subresource)
        return [entry_of(owner, self._version, changed, format_time(now))] if changed else []

    def _wanted(self, config: Object) -> FieldSet:
        """All fields that the configuration names and the write can reach."""
        roots = self._resets.roots
        named = {key: value for key, value in config.items() if key not in roots} if roots else config
        return self._resets.applied_to(self._node.applied(named) or {})

    def _check_conflicts(
        self,
        others: list[Object],
        changed: FieldSet,
        removed: FieldSet,
        base: Object,
        merged: Object,
        manager: str,
    ) -> None:
        """Raises Conflict for changed fields of others that were not set by this manager's client-side apply."""
        contested: dict[Owner, FieldSet] = {}
        comparisons = {self._version: (changed, removed)}
        for entry in others:
            compared = self._compared_at(entry["apiVersion"], comparisons, base, merged)
            if compared is not None and (common := sets.intersection(entry["fieldsV1"], compared[0])):
                contested[owner_of(entry)] = common
        if contested and manager == last_applied.MANAGER:
            allowed = last_applied.fields(base, self._version, self._node)
            contested = {
                owner: left for owner, fields in contested.items() if (left := sets.difference(fields, allowed))
            }
        if contested:
            raise conflict(contested)

    def _taken(
        self, others: list[Object], changed: FieldSet, removed: FieldSet, base: Object, merged: Object
    ) -> list[Object]:
        """What the others still own after the change."""
        result: list[Object] = []
        comparisons = {self._version: (changed, removed)}
        for entry in others:
            compared = self._compared_at(entry["apiVersion"], comparisons, base, merged)
            if compared is not None:
                _add(result, entry, sets.difference(sets.difference(entry["fieldsV1"], compared[0]), compared[1]))
        return result

    def _pruned(self, merged: Object, last: Object, entries: list[Object]) -> Object:
        """`merged` without the fields that only `last` owned: its author named them then and does not now."""
        version = last["apiVersion"]
        node = self._versions.node(version)
        if node is None:
            return merged
        merged = whole = self._at(merged, self._version, version)
        before = node.named(last["fieldsV1"])
        pruned = node.removing(whole, before)
        owned: dict[str, FieldSet] = {version: {}}
        for entry in entries:
            at = entry["apiVersion"]
            owned[at] = sets.union(owned.get(at, {}), entry["fieldsV1"])
        here = version
        for at, fields in owned.items():
            there = self._versions.node(at)
            if there is None:
                continue
            merged, pruned = self._at(merged, here, at), self._at(pruned, here, at)
            here = at
            kept = sets.union(_all(there, pruned), there.named(fields))
            pruned = there.removing(merged, sets.difference(_all(there, merged), kept))
        gone = sets.difference(_all(node, whole), _all(node, self._at(pruned, here, version)))
        return self._at(node.removing(whole, sets.intersection(gone, before)), version, self._version)

    def _at(self, obj: Object, source: str, target: str) -> Object:
        return obj if source == target else self._versions.convert(obj, source, target)


def _all(node: StructNode, obj: Object) -> FieldSet:
    return node.named(node.applied(obj) or {})


def _add(entries: list[Object], entry: Object, fields: FieldSet) -> None:
    """Keep an entry with the fields that are left to it, if any are."""
    if fields:
        entries.append(entry if fields is entry["fieldsV1"] else with_fields(entry, fields))
