"""Asking a server what it serves. Source: KEP-3352 (aggregated discovery); older servers are asked group by group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from pilothouse.api import status
from pilothouse.api.gvr import GVR
from pilothouse.client.client import Client

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@dataclass(frozen=True, slots=True)
class Served:
    """A resource and the verbs it takes. Subresources are left out."""

    gvr: GVR
    verbs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a server serves, every group's preferred version first. `failures` names groups that could not be asked."""

    resources: Sequence[Served] = ()
    failures: Mapping[str, str] = field(default_factory=dict)

    def preferred(self) -> Iterator[Served]:
        """Each resource once, in the preferred version of its group, or in the first version that has it."""
        seen: set[tuple[str, str]] = set()
        for served in self.resources:
            identity = (served.gvr.group, served.gvr.plural)
            if identity not in seen:
                seen.add(identity)
                yield served

    def by_kind(self, api_version: str, kind: str) -> GVR | None:
        """The resource of a kind, in any version of its group if the version is not served."""
        group = api_version.rpartition("/")[0]
        matches = [one.gvr for one in self.resources if one.gvr.kind == kind and one.gvr.group == group]
        return next((gvr for gvr in matches if gvr.api_version == api_version), matches[0] if matches else None)


async def discover(client: Client) -> Discovery:
    """Raises what the server answers; a group that alone fails is among the `failures` instead."""
    resources: list[Served] = []
    failures: dict[str, str] = {}
    for path in ("/api", "/apis"):
        answer = orjson.loads(await client.raw("GET", path, headers={"accept": AGGREGATED}))
        if answer.get("kind") == "APIGroupDiscoveryList":
            _read_aggregated(answer, resources, failures)
        else:
            await _read_groups(client, path, answer, resources, failures)
    return Discovery(tuple(resources), failures)


def _read_aggregated(answer: Mapping[str, Any], resources: list[Served], failures: dict[str, str]) -> None:
    for item in answer.get("items") or ():
        group = (item.get("metadata") or {}).get("name", "")
        for version in item.get("versions") or ():
            if version.get("freshness") == "Stale":
                failures[f"{group}/{version['version']}"] = "stale GroupVersion discovery"
            for one in version.get("resources") or ():
                kind = (one.get("responseKind") or {}).get("kind", "")
                gvr = GVR(group, version["version"], one["resource"], kind, one.get("scope") == "Namespaced")
                resources.append(Served(gvr, frozenset(one.get("verbs") or ())))


async def _read_groups(
    client: Client, path: str, answer: Mapping[str, Any], resources: list[Served], failures: dict[str, str]
) -> None:
    if path == "/api":
        versions = [("", version, f"/api/{version}") for version in answer.get("versions") or ()]
    else:
        versions = [
            (group["name"], version["version"], f"/apis/{version['groupVersion']}")
            for group in answer.get("groups") or ()
            for version in sorted(
                group["versions"], key=lambda one: one["version"] != group["preferredVersion"]["version"]
            )
        ]
    for group, version, url in versions:
        try:
            listed = orjson.loads(await client.raw("GET", url))
        except status.StatusError as error:
            failures[f"{group}/{version}"] = error.message
            continue
        for one in listed.get("resources") or ():
            if "/" not in one["name"]:
                gvr = GVR(group, version, one["name"], one["kind"], bool(one.get("namespaced")))
                resources.append(Served(gvr, frozenset(one.get("verbs") or ())))
