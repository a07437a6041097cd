"""The objects that every cluster has."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api import gvr
from pilothouse.api.status import NotFound
from pilothouse.api.user import User
from pilothouse.apiserver.fairness.keeper import AUTOUPDATE, Keeper
from pilothouse.apiserver.write import Write
from tests.apiserver.harness import Harness

LEVELS, SCHEMAS = gvr.PRIORITY_LEVEL_CONFIGURATIONS, gvr.FLOW_SCHEMAS


class World:
    def __init__(self) -> None:
        self.harness = Harness()
        app = self.harness.app
        self.keeper = Keeper(lambda kind: app.registry(app.endpoint(kind).resource), self.harness.clock)
        self.client = self.harness.client

    async def edit(self, kind: Any, name: str, flag: str | None, **spec: Any) -> Any:
        obj = await self.client.get(kind, "", name)
        return await self.client.update(kind, edited(obj, flag, spec))

    async def force(self, kind: Any, name: str, flag: str | None, **spec: Any) -> None:
        """What validation would refuse, but an older release may have left."""

        async def change(now: Any) -> Any:
            return edited(now, flag, spec)

        registry = await self.harness.app.registry(self.harness.app.endpoint(kind).resource)
        await registry.change(change, Write(User("test"), "", name))


def edited(obj: Any, flag: str | None, spec: Any) -> Any:
    annotations = {} if flag is None else {AUTOUPDATE: flag}
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}, "spec": {**obj["spec"], **spec}}


@pytest.fixture
async def world() -> World:
    world = World()
    await world.keeper.keep()
    return world


async def test_what_is_missing_comes_back(world: World) -> None:
    await world.client.delete(SCHEMAS, "", "probes")
    await world.client.delete(LEVELS, "", "catch-all")
    await world.keeper.keep()
    assert (await world.client.get(SCHEMAS, "", "probes"))["spec"]["matchingPrecedence"] == 2
    assert (await world.client.get(LEVELS, "", "catch-all"))["spec"]["limited"]["nominalConcurrencyShares"] == 5


async def test_looking_again_changes_nothing(world: World) -> None:
    before = [await world.client.list(kind) for kind in (LEVELS, SCHEMAS)]
    await world.keeper.keep()
    assert [await world.client.list(kind) for kind in (LEVELS, SCHEMAS)] == before


@pytest.mark.parametrize("flag", ["true", "false", None, "perhaps"])
async def test_mandatory_schemas_are_restored_whatever_they_say(world: World, flag: str | None) -> None:
    await world.force(SCHEMAS, "catch-all", flag, matchingPrecedence=7)
    await world.keeper.keep()
    present = await world.client.get(SCHEMAS, "", "catch-all")
    assert present["spec"]["matchingPrecedence"] == 10000
    assert present["metadata"]["annotations"] == {AUTOUPDATE: "true"}


@pytest.mark.parametrize(
    ("flag", "precedence", "told"),
    [("true", 9000, "true"), ("false", 7, "false"), (None, 7, "false"), ("x", 7, "false")],
)
async def test_suggested_schemas_are_restored_if_they_say_so(
    world: World, flag: str | None, precedence: int, told: str
) -> None:
    await world.edit(SCHEMAS, "service-accounts", flag, matchingPrecedence=7)
    await world.keeper.keep()
    present = await world.client.get(SCHEMAS, "", "service-accounts")
    assert present["spec"]["matchingPrecedence"] == precedence
    assert present["metadata"]["annotations"] == {AUTOUPDATE: told}


async def test_a_suggested_object_that_was_never_changed_gets_its_annotation(world: World) -> None:
    await world.edit(SCHEMAS, "service-accounts", None)
    await world.keeper.keep()
    assert (await world.client.get(SCHEMAS, "", "service-accounts"))["metadata"]["annotations"] == {AUTOUPDATE: "true"}


async def test_the_seats_of_the_exempt_are_the_administrators(world: World) -> None:
    exempt = {"nominalConcurrencyShares": 3, "lendablePercent": 10}
    await world.edit(LEVELS, "exempt", "true", exempt=exempt)
    await world.keeper.keep()
    assert (await world.client.get(LEVELS, "", "exempt"))["spec"]["exempt"] == exempt


@pytest.mark.parametrize(("flag", "goes"), [("true", True), ("false", False), (None, False)])
async def test_what_belongs_to_no_release_goes_if_it_says_so(world: World, flag: str | None, goes: bool) -> None:
    old = await world.client.get(SCHEMAS, "", "probes")
    annotations = {} if flag is None else {AUTOUPDATE: flag}
    await world.client.create(SCHEMAS, {**old, "metadata": {"name": "old", "annotations": annotations}})
    await world.keeper.keep()
    if goes:
        with pytest.raises(NotFound):
            await world.client.get(SCHEMAS, "", "old")
    else:
        assert await world.client.get(SCHEMAS, "", "old")
