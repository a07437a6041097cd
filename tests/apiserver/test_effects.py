from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.apiserver.effects import WITHOUT_EFFECT, warnings


def test_every_kind_of_the_table_is_served_and_stored() -> None:
    stored = {resource.gvr for resource in RESOURCES if resource.is_stored}
    assert set(WITHOUT_EFFECT) <= stored


def test_the_warning_says_what_does_not_happen() -> None:
    told = warnings()
    assert gvr.PODS not in told
    assert all(told[kind].endswith(missing) for kind, missing in WITHOUT_EFFECT.items())
