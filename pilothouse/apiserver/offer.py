"""Which of the built-in kinds are served, at which versions: `--runtime-config`. Pure.

Source: apiserver `pkg/server/resourceconfig/helpers.go`. What upstream has switched off by default is not built, so that switching it on
by its name is refused; `api/all`, `api/beta` and `api/alpha` switch on what there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pilothouse.api.gvr import GVR
from pilothouse.api.resource import Resource

_ALL = "api/all"
_STAGES = {
    _ALL: re.compile(r".*"),
    "api/ga": re.compile(r"v\d+"),
    "api/beta": re.compile(r"v\d+beta\d+"),
    "api/alpha": re.compile(r"v\d+alpha\d+"),
}
_TRUE, _FALSE = (
    frozenset({"1", "t", "T", "true", "TRUE", "True"}),
    frozenset({"0", "f", "F", "false", "FALSE", "False"}),
)
_NEEDED = frozenset({"v1", "apiextensions.k8s.io/v1", "apiregistration.k8s.io/v1"})
"""What the server itself works with."""


def switches(texts: Iterable[str]) -> dict[str, str]:
    """The keys and values of `key=value,key=value`; what comes later counts."""
    found: dict[str, str] = {}
    for part in ",".join(texts).split(","):
        if part.strip():
            key, _, value = part.strip().partition("=")
            found[key.strip()] = value.strip()
    return found


def offered(resources: Sequence[Resource], given: Mapping[str, str]) -> tuple[Resource, ...]:
    """`resources` without what `given` withholds. Raises ValueError."""
    if not given:
        return tuple(resources)
    if dict(given) == {_ALL: "false"}:
        raise ValueError(f"invalid runtime-config with only {_ALL}=false")
    rules = _rules(given, {gvr for resource in resources for gvr in resource.served})
    found = []
    for resource in resources:
        withheld = frozenset(gvr for gvr in resource.served if not _is_on(gvr, rules))
        if len(withheld) < len(resource.served):
            found.append(replace(resource, withheld=withheld))
    return tuple(found)


def _is_on(gvr: GVR, rules: Mapping[str, bool]) -> bool:
    """The last of the rules that say something counts: by stage, by version, by resource."""
    state = True
    for stage, pattern in _STAGES.items():
        if stage in rules and pattern.fullmatch(gvr.version) and gvr.api_version not in _NEEDED:
            state = rules[stage]
    for key in (gvr.api_version, f"{gvr.api_version}/{gvr.plural}"):
        state = rules.get(key, state)
    return state


def _rules(given: Mapping[str, str], known: set[GVR]) -> dict[str, bool]:
    groups = {gvr.group for gvr in known}
    versions = {gvr.api_version for gvr in known}
    rules: dict[str, bool] = {}
    for key, value in given.items():
        if key in _STAGES:
            if value not in ("true", "false"):
                raise ValueError(f"invalid value {key}={value}")
            rules[key] = value == "true"
            continue
        parts = key.split("/")
        if parts[0] == "v1":
            parts = ["", *parts]
        if not 2 <= len(parts) <= 3 or parts[0] not in groups:
            raise ValueError(f"unknown api groups {key}")
        if value and value not in _TRUE | _FALSE:
            raise ValueError(f"invalid value of {key}: {value}")
        is_on = value not in _FALSE
        version = "/".join(parts[:2]).removeprefix("/")
        if version not in versions and is_on:
            raise ValueError(f"group version {version} that has not been registered")
        if version in _NEEDED and not is_on:
            raise ValueError(f"{key}=false: the server itself needs {version}")
        rules["/".join((version, *parts[2:]))] = is_on
    return rules
