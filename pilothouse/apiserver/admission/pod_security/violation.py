"""What a check of the Pod Security Standards finds, and how it is worded: `pod-security-admission/policy` has the same phrases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Spec = Mapping[str, Any]
CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")


@dataclass(frozen=True, slots=True)
class Violation:
    """`reason` is short; `detail` names containers and values."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


Form = Callable[[Spec, Mapping[str, str]], Violation | None]
"""Takes a pod's spec and annotations."""


def containers_of(spec: Spec) -> Iterator[Mapping[str, Any]]:
    for key in CONTAINER_LISTS:
        yield from spec.get(key) or ()


def context_of(subject: Mapping[str, Any]) -> Mapping[str, Any]:
    return subject.get("securityContext") or {}


def quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def counted(noun: str, items: Sequence[str], verb: str = "") -> str:
    """`container "a" uses`, `containers "a", "b" use`."""
    one = len(items) == 1
    text = f"{noun if one else noun + 's'} {quoted(items)}"
    return f"{text} {verb}{'s' if one else ''}" if verb else text


def setters_of(pod_is_bad: bool, containers: Sequence[str]) -> str:
    parts = ["pod"] if pod_is_bad else []
    if containers:
        parts.append(counted("container", containers))
    return " and ".join(parts)


def adding_capabilities(spec: Spec, allowed: frozenset[str]) -> tuple[list[str], list[str]]:
    """The containers that add capabilities beyond `allowed`, and which ones."""
    names, added = [], set()
    for container in containers_of(spec):
        capabilities = (context_of(container).get("capabilities") or {}).get("add") or ()
        if more := set(capabilities) - allowed:
            names.append(container["name"])
            added |= more
    return names, sorted(added)
