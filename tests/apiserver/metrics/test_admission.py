"""How long admission takes."""

from __future__ import annotations

import pytest

from pilothouse.api.kinds.core.config_map import CONFIG_MAP
from pilothouse.api.status import Forbidden
from pilothouse.api.user import User
from pilothouse.apiserver.admission.chain import Chain
from pilothouse.apiserver.admission.plugin import Plugin
from pilothouse.apiserver.attributes import Attributes
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.metrics import render


class Slow(Plugin):
    name = "Slow"

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    async def mutate(self, attributes: Attributes) -> None:
        await self._clock.advance(2)


class No(Plugin):
    name = "No"

    async def mutate(self, attributes: Attributes) -> None:
        raise Forbidden("no")

    async def validate(self, attributes: Attributes) -> None:
        return


async def test_steps_and_plugins_are_timed() -> None:
    clock = VirtualClock()
    chain = Chain([Slow(clock), No()], clock=clock)
    attributes = Attributes("CREATE", CONFIG_MAP, CONFIG_MAP.gvr, "ns", "a", User("alice"), obj={})
    with pytest.raises(Forbidden):
        await chain.mutate(attributes)
    await chain.validate(attributes)
    text = render(chain.times.families()).decode()
    prefix = "apiserver_admission_"
    slow = 'name="Slow",operation="CREATE",rejected="false",type="admit"'
    assert f"{prefix}controller_admission_duration_seconds_sum{{{slow}}} 2" in text
    no = 'name="No",operation="CREATE",rejected="true",type="admit"'
    assert f"{prefix}controller_admission_duration_seconds_count{{{no}}} 1" in text
    step = 'operation="CREATE",rejected="true",type="admit"'
    assert f"{prefix}step_admission_duration_seconds_sum{{{step}}} 2" in text
    assert (
        f'{prefix}step_admission_duration_seconds_count{{operation="CREATE",rejected="false",type="validate"}} 1'
        in text
    )
