"""Keeps the flow schemas and priority levels that every cluster has: a minute after the last look, what is missing comes back.

The mandatory ones (`exempt`, `catch-all`) are kept as they are; of the suggested ones, those whose annotation
`apf.kubernetes.io/autoupdate-spec` says so, or that have no annotation and were never changed. What carries the annotation and
belongs to no present release goes. Source: `pkg/registry/flowcontrol/ensurer`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pilothouse.api import gvr
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.schema import schema_of
from pilothouse.api.status import AlreadyExists, Conflict, NotFound, StatusError
from pilothouse.api.user import User
from pilothouse.api.view import json_copy
from pilothouse.apiserver import flow
from pilothouse.apiserver.options import DeleteOptions
from pilothouse.apiserver.own_tracking import own
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.write import Write
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.store.base import StoreUnavailable

PERIOD_S = 60.0
MANDATORY = ("exempt", "catch-all")
AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
_SERVER = User("system:apiserver", groups=("system:masters",))
_PRODUCER = "api-priority-and-fairness-config-producer-v1"
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
log = get_logger("pilothouse.apiserver.fairness")


class Keeper:
    """`registry_of` opens the registries of the two kinds."""

    def __init__(self, registry_of: Callable[[GVR], Awaitable[Registry]], clock: Clock) -> None:
        self._registry_of = registry_of
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(PERIOD_S)
            try:
                await self.keep()
            except (StatusError, StoreUnavailable) as error:
                log.error("flow control's own objects cannot be kept", error=str(error))

    async def keep(self) -> None:
        """Look once. Raises StatusError, StoreUnavailable."""
        for kind, objects in (
            (gvr.PRIORITY_LEVEL_CONFIGURATIONS, flow.priority_levels()),
            (gvr.FLOW_SCHEMAS, flow.flow_schemas()),
        ):
            registry = await self._registry_of(kind)
            for obj in objects:
                await self._ensure(registry, _defaulted(registry, obj))
            await self._remove_others(registry, {obj["metadata"]["name"] for obj in objects})

    async def _ensure(self, registry: Registry, wanted: Object) -> None:
        name = wanted["metadata"]["name"]
        present = registry.cacher.get("", name)
        if present is None:
            try:
                await registry.create(wanted, Write(_SERVER, "", name, track=own(registry.resource.gvr, _PRODUCER)))
            except AlreadyExists:
                return
        elif revised(present.object(), wanted) is not None:

            async def change(now: Object) -> Object:
                return revised(now, wanted) or now

            try:
                await registry.update(change, Write(_SERVER, "", name, track=own(registry.resource.gvr, _PRODUCER)))
            except (Conflict, NotFound):
                return

    async def _remove_others(self, registry: Registry, wanted: set[str]) -> None:
        for cached in registry.cacher.list("").items:
            metadata = cached.object()["metadata"]
            if metadata["name"] in wanted or _flag(metadata) is not True:
                continue
            try:
                await registry.delete(Write(_SERVER, "", metadata["name"]), DeleteOptions())
            except (Conflict, NotFound):
                continue


def revised(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> Object | None:
    """`present` as it should be; None if it is so already. Pure."""
    metadata = present["metadata"]
    name = metadata["name"]
    flag = _flag(metadata)
    is_kept = name in MANDATORY or (metadata.get("generation") == 1 if flag is None else flag)
    spec = wanted["spec"]
    if name == "exempt" and "exempt" in spec and "exempt" in present["spec"]:
        # How many seats the exempt level has, and lends, is for administrators to say.
        spec = {**spec, "exempt": {**spec["exempt"], **present["spec"]["exempt"]}}
    has_changed = is_kept and present["spec"] != spec
    if flag is is_kept and not has_changed:
        return None
    draft: Object = json_copy(present)
    if has_changed:
        draft["spec"] = json_copy(wanted["spec"])
    if flag is not is_kept:
        draft["metadata"]["annotations"] = {
            **metadata.get("annotations", {}),
            AUTOUPDATE: "true" if is_kept else "false",
        }
    return draft


def _flag(metadata: Mapping[str, Any]) -> bool | None:
    """What the annotation says; None for one that is missing or says nothing."""
    text = (metadata.get("annotations") or {}).get(AUTOUPDATE, "")
    return True if text in _TRUE else False if text in _FALSE else None


def _defaulted(registry: Registry, obj: Object) -> Object:
    kind = registry.resource.gvr
    draft: Object = json_copy(obj)
    schema = schema_of(kind.api_version, kind.kind)
    schema.load(draft)
    schema.default(draft)
    registry.resource.default(draft)
    return draft


def mandatory(objects: Sequence[Object]) -> list[Object]:
    return [obj for obj in objects if obj["metadata"]["name"] in MANDATORY]
