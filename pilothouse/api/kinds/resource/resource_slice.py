"""ResourceSlice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, View, at, text, value_of
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.kit.deferred import Deferred

_LISTS = ("bools", "ints", "strings", "versions")


def _drop_disabled(draft: Object, old: View | None) -> None:
    """What a device takes of its node, and attributes that are lists."""
    devices, before = at(draft, "spec", "devices") or (), at(old or {}, "spec", "devices") or ()
    if not any("nodeAllocatableResourceMappings" in device for device in before):
        for device in devices:
            device.pop("nodeAllocatableResourceMappings", None)
    if not any(field in attribute for attribute in _attributes(before) for field in _LISTS):
        for attribute in _attributes(devices):
            for field in _LISTS:
                attribute.pop(field, None)


def _attributes(devices: Iterable[View]) -> Iterator[Any]:
    for device in devices:
        yield from (device.get("attributes") or {}).values()


def _date_taints(draft: Object) -> None:
    for device in at(draft, "spec", "devices") or ():
        for taint in device.get("taints") or ():
            taint.setdefault("timeAdded", draft["metadata"].get("creationTimestamp"))


def _warnings(resource_slice: View) -> list[str]:
    driver = at(resource_slice, "spec", "driver") or ""
    if driver == driver.lower():
        return []
    return [f'spec.driver: driver names should be lowercase; "{driver}" contains uppercase characters']


RESOURCE_SLICE = Resource(
    gvr.RESOURCE_SLICES,
    selectable={"spec.nodeName": value_of("spec", "nodeName"), "spec.driver": value_of("spec", "driver")},
    columns=(
        NAME,
        text("Node", "spec", "nodeName"),
        text("Driver", "spec", "driver"),
        text("Pool", "spec", "pool", "name"),
        AGE,
    ),
    returns_deleted=True,
    drop_disabled=_drop_disabled,
    prepare_create=_date_taints,
    warnings=_warnings,
    update_warnings=lambda new, old: _warnings(new),
    validate=Deferred("pilothouse.api.validate.device_slice", "validate_slice"),
    validate_update=Deferred("pilothouse.api.validate.device_slice", "validate_slice_update"),
)
