"""The webhooks that are configured, by what they want to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object, name_of
from pilothouse.api.resource import Resource
from pilothouse.apiserver.admission.matching import Match
from pilothouse.apiserver.objects import Objects


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook of a configuration."""

    name: str
    configuration: str
    index: int
    match: Match
    conditions: tuple[tuple[str, str], ...]
    """Names and expressions."""
    client_config: Mapping[str, Any]
    review_versions: tuple[str, ...]
    fails_open: bool
    allows_dry_run: bool
    is_reinvoked: bool
    timeout_s: float

    @property
    def key(self) -> str:
        return f"{self.configuration}/{self.name}/{self.index}"

    @classmethod
    def of(cls, configuration: str, index: int, hook: Mapping[str, Any]) -> Hook:
        return cls(
            hook["name"],
            configuration,
            index,
            Match.of(hook),
            tuple((each["name"], each["expression"]) for each in hook.get("matchConditions") or ()),
            hook.get("clientConfig") or {},
            tuple(hook.get("admissionReviewVersions") or ()),
            hook.get("failurePolicy", "Fail") == "Ignore",
            hook.get("sideEffects") in ("None", "NoneOnDryRun"),
            hook.get("reinvocationPolicy") == "IfNeeded",
            float(hook.get("timeoutSeconds") or 10),
        )


class Hooks:
    """The webhooks of all configurations of a kind, in the order of the configurations' names.

    What a resource concerns is worked out once and kept until a configuration changes: a write that no webhook wants costs a look-up.
    """

    def __init__(self, objects: Objects, kind: GVR) -> None:
        self._objects = objects
        self._kind = kind
        self._is_open = False
        self._by_configuration: dict[str, tuple[Hook, ...]] = {}
        self._wanted: dict[GVR, tuple[Hook, ...]] = {}

    async def wanted(self, resource: Resource) -> tuple[Hook, ...]:
        """The webhooks of which a rule could match a write of `resource`."""
        if not self._is_open:
            await self._open()
        hooks = self._wanted.get(resource.gvr)
        if hooks is None:
            ordered = (hook for name in sorted(self._by_configuration) for hook in self._by_configuration[name])
            hooks = self._wanted[resource.gvr] = tuple(hook for hook in ordered if hook.match.may_match(resource))
        return hooks

    async def _open(self) -> None:
        await self._objects.list(self._kind)
        if not self._is_open:
            self._is_open = True
            self._objects.subscribe(self._kind, self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        self._wanted.clear()
        if new is None:
            assert old is not None
            self._by_configuration.pop(name_of(old), None)
            return
        name = name_of(new)
        hooks = (Hook.of(name, index, hook) for index, hook in enumerate(new.get("webhooks") or ()))
        self._by_configuration[name] = tuple(hooks)
