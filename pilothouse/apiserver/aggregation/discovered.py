"""What other servers serve, in the words of aggregated discovery (KEP-3352)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api.meta import Object


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """A group version that another server serves. `resources` are entries of an APIResourceList."""

    group: str
    version: str
    resources: Sequence[Mapping[str, Any]] = ()
    is_current: bool = False
    """Whether `resources` is what the server said when it was last asked."""
    is_available: bool = False
    group_priority: int = 0
    version_priority: int = 0

    def discovered(self) -> Object:
        """The version as a member of an APIGroupDiscovery."""
        return {
            "version": self.version,
            "resources": _resources(self.resources, self.group, self.version),
            "freshness": "Current" if self.is_current else "Stale",
        }


def groups_of(versions: Iterable[RemoteVersion]) -> Mapping[str, Sequence[RemoteVersion]]:
    """The versions by their group; the groups and their versions by priority, the highest first."""
    groups: dict[str, list[RemoteVersion]] = {}
    for version in versions:
        groups.setdefault(version.group, []).append(version)
    ordered = sorted(groups, key=lambda name: (-max(each.group_priority for each in groups[name]), name))
    return {name: sorted(groups[name], key=lambda each: -each.version_priority) for name in ordered}


def _resources(entries: Sequence[Mapping[str, Any]], group: str, version: str) -> list[Object]:
    found: dict[str, Object] = {}
    below: list[tuple[str, str, Mapping[str, Any]]] = []
    for entry in entries:
        plural, _, subresource = str(entry.get("name", "")).partition("/")
        if subresource:
            below.append((plural, subresource, entry))
            continue
        found[plural] = {
            "resource": plural,
            "responseKind": _kind(entry, group, version),
            "scope": "Namespaced" if entry.get("namespaced") else "Cluster",
            "singularResource": entry.get("singularName", ""),
            "verbs": entry.get("verbs") or [],
            **{key: entry[key] for key in ("shortNames", "categories") if entry.get(key)},
        }
    for plural, subresource, entry in below:
        parent = found.setdefault(
            plural,
            {"resource": plural, "scope": "Namespaced" if entry.get("namespaced") else "Cluster", "verbs": []},
        )
        parent.setdefault("subresources", []).append(
            {
                "subresource": subresource,
                "responseKind": _kind(entry, group, version),
                "verbs": entry.get("verbs") or [],
            }
        )
    return list(found.values())


def _kind(entry: Mapping[str, Any], group: str, version: str) -> Object:
    return {
        "group": entry.get("group") or group,
        "version": entry.get("version") or version,
        "kind": entry.get("kind", ""),
    }
