"""Garbage: the graph and the decision about one object."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.gvr import CONFIG_MAPS
from pilothouse.api.meta import Object
from pilothouse.client.client import Propagation
from pilothouse.controllers.garbage.graph import FOREGROUND, ORPHAN, Graph
from pilothouse.controllers.garbage.plan import Actions, OwnerState, plan


def owned(*uids: str, blocking: bool = True) -> list[Object]:
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": blocking}
        for uid in uids
    ]


def obj(uid: str, *owners: str, finalizers: tuple[str, ...] = (), deleting: bool = False, **metadata: Any) -> Object:
    found: Object = {"name": uid, "namespace": "default", "uid": uid, "resourceVersion": "1"}
    if owners:
        found["ownerReferences"] = owned(*owners)
    if finalizers:
        found["finalizers"] = list(finalizers)
    if deleting:
        found["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    return {"metadata": found | metadata}


class World:
    def __init__(self, *objs: Object) -> None:
        self.graph = Graph()
        for one in objs:
            self.see(one)

    def see(self, one: Object) -> set[str]:
        return set(self.graph.observe(CONFIG_MAPS, one))

    def plan(self, uid: str, **states: OwnerState) -> Actions:
        node = self.graph.get(uid)
        assert node is not None
        return plan(self.graph, node, states)


def test_an_object_whose_owners_are_all_gone_goes() -> None:
    world = World(obj("a", "o"))
    assert world.plan("a", o=OwnerState.ABSENT).delete is Propagation.BACKGROUND
    held = World(obj("a", "o", finalizers=(FOREGROUND,)))
    assert held.plan("a", o=OwnerState.ABSENT).delete is Propagation.FOREGROUND
    orphaning = World(obj("a", "o", finalizers=(ORPHAN,)))
    assert orphaning.plan("a", o=OwnerState.ABSENT).delete is Propagation.ORPHAN


def test_one_living_owner_keeps_it_and_the_dead_ones_are_struck_off() -> None:
    world = World(obj("a", "dead", "alive", "going"))
    actions = world.plan("a", dead=OwnerState.ABSENT, alive=OwnerState.SOLID, going=OwnerState.WAITING)
    assert actions.delete is None
    assert actions.owners is not None
    assert [owner["uid"] for owner in actions.owners] == ["alive"]
    assert world.plan("a", dead=OwnerState.SOLID, alive=OwnerState.SOLID, going=OwnerState.SOLID) == Actions()


def test_an_owner_that_can_neither_be_found_nor_missed_keeps_it() -> None:
    assert World(obj("a", "o")).plan("a", o=OwnerState.INVALID) == Actions()


def test_an_owner_in_the_foreground_waits_for_blocking_dependents_only() -> None:
    world = World(
        obj("o", finalizers=(FOREGROUND,), deleting=True),
        obj("a", "o"),
        obj("b", ownerReferences=owned("o", blocking=False)),
    )
    assert world.plan("o").look_at == ["a"]
    assert world.plan("a", o=OwnerState.WAITING).delete is Propagation.BACKGROUND
    assert set(world.graph.forget("a")) == {"o"}
    assert world.plan("o").finalizers == []


def test_a_dependent_with_dependents_goes_in_the_foreground_too() -> None:
    world = World(obj("o", finalizers=(FOREGROUND,), deleting=True), obj("a", "o"), obj("b", "a"))
    assert world.plan("a", o=OwnerState.WAITING).delete is Propagation.FOREGROUND


def test_a_circle_is_broken() -> None:
    world = World(obj("a", "b", finalizers=(FOREGROUND,), deleting=True), obj("b", "a"))
    actions = world.plan("b", a=OwnerState.WAITING)
    assert actions.owners is not None
    assert [owner["blockOwnerDeletion"] for owner in actions.owners] == [False]


def test_an_orphaning_owner_lets_go_of_its_dependents_first() -> None:
    world = World(obj("o", finalizers=(ORPHAN, "other"), deleting=True), obj("a", "o"))
    actions = world.plan("o")
    assert [node.uid for node in actions.orphan] == ["a"]
    assert actions.finalizers == ["other"]


def test_who_has_to_be_looked_at() -> None:
    world = World()
    assert world.see(obj("a", "o")) == {"a"}, "its owner is not known"
    assert world.see(obj("o")) == set()
    assert world.see(obj("b", "o")) == set(), "its owner is there"
    elsewhere = obj("c", "o")
    elsewhere["metadata"]["namespace"] = "other"
    assert world.see(elsewhere) == {"c"}, "its owner is in another namespace"
    assert world.see(obj("o", finalizers=(FOREGROUND,), deleting=True)) == {"o", "a", "b", "c"}
    assert set(world.graph.forget("o")) == {"a", "b", "c"}
    assert world.see(obj("d", "o")) == {"d"}


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdef"), max_size=3), st.booleans()), max_size=40
    )
)
def test_links_always_mirror_the_owner_references(steps: list[tuple[str, set[str], bool]]) -> None:
    world, present = World(), dict[str, set[str]]()
    for uid, owners, is_there in steps:
        if is_there:
            world.see(obj(uid, *sorted(owners - {uid})))
            present[uid] = owners - {uid}
        else:
            affected = set(world.graph.forget(uid))
            present.pop(uid, None)
            assert {one for one, its in present.items() if uid in its} <= affected
    for owner in "abcdef":
        node = world.graph.get(owner)
        dependents = {one for one, its in present.items() if owner in its}
        assert (node.dependents if node is not None else set()) == dependents
        if owner in present:
            assert node is not None
            assert not node.is_virtual
        else:
            assert node is None or node.is_virtual
