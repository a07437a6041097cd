"""What is to become of one object, given the state of its owners. All functions are pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from pilothouse.client.client import Propagation
from pilothouse.controllers.garbage.graph import FOREGROUND, ORPHAN, Graph, Node, Owner


class OwnerState(Enum):
    """How an owner stands to its dependent."""

    SOLID = auto()
    """It is there, and not waiting for its dependents to go."""
    ABSENT = auto()
    WAITING = auto()
    """It is being deleted in the foreground and waits for the dependent."""
    INVALID = auto()
    """A namespaced owner of a cluster-scoped object: it can neither be found nor be missing."""


@dataclass(frozen=True, slots=True)
class Actions:
    """What to write; at most one of `delete` and `owners` is set. `look_at` are UIDs to be looked at."""

    delete: Propagation | None = None
    owners: Sequence[Owner] | None = None
    """The owner references that remain."""
    finalizers: Sequence[str] | None = None
    """The finalizers that remain."""
    orphan: Sequence[Node] = ()
    """Dependents that must lose their reference to the object, before its finalizer goes."""
    look_at: Sequence[str] = ()


def plan(graph: Graph, node: Node, states: Mapping[str, OwnerState]) -> Actions:
    """`states` has the state of every owner of `node`, by UID."""
    if node.orphans_dependents:
        return Actions(orphan=graph.dependents(node), finalizers=[name for name in node.finalizers if name != ORPHAN])
    if node.waits_for_dependents:
        return _wait(graph, node)
    if node.is_deleting or not node.owners:
        return Actions()
    by_state = {state: [owner for owner in node.owners if states[owner["uid"]] is state] for state in OwnerState}
    waiting, absent = by_state[OwnerState.WAITING], by_state[OwnerState.ABSENT]
    if by_state[OwnerState.SOLID] or by_state[OwnerState.INVALID]:
        if not absent and not waiting:
            return Actions()
        return Actions(owners=[owner for owner in node.owners if owner not in absent and owner not in waiting])
    if waiting and node.dependents:
        if any(one.waits_for_dependents for one in graph.dependents(node)) and any(
            owner.get("blockOwnerDeletion") for owner in node.owners
        ):
            # A circle of objects that wait for each other: this one stops holding its owners up.
            return Actions(owners=[{**owner, "blockOwnerDeletion": False} for owner in node.owners])
        return Actions(delete=Propagation.FOREGROUND)
    if ORPHAN in node.finalizers:
        return Actions(delete=Propagation.ORPHAN)
    if FOREGROUND in node.finalizers:
        return Actions(delete=Propagation.FOREGROUND)
    return Actions(delete=Propagation.BACKGROUND)


def _wait(graph: Graph, node: Node) -> Actions:
    blocking = [one for one in graph.dependents(node) if one.is_blocking(node)]
    if not blocking:
        return Actions(finalizers=[name for name in node.finalizers if name != FOREGROUND])
    return Actions(look_at=[one.uid for one in blocking if not one.waits_for_dependents])
