"""Endpoints."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.address_warnings import of_address
from pilothouse.api.kinds.columns import AGE, NAME, NONE, View
from pilothouse.api.resource import Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

_SHOWN = 3


def _endpoints(obj: View, now: float) -> str:
    """The first addresses with their ports, and how many more there are."""
    subsets = obj.get("subsets") or ()
    if not subsets:
        return NONE
    found: list[str] = []
    for subset in subsets:
        hosts = [address["ip"] for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if not ports:
            found += hosts
        for port in ports:
            found += [f"[{host}]:{port['port']}" if ":" in host else f"{host}:{port['port']}" for host in hosts]
    shown = ",".join(found[:_SHOWN])
    return f"{shown} + {len(found) - _SHOWN} more..." if len(found) > _SHOWN else shown


def _warnings(obj: View) -> list[str]:
    found: list[str] = []
    if (obj["metadata"].get("labels") or {}).get("endpoints.kubernetes.io/managed-by") == "endpoint-controller":
        return found
    for i, subset in enumerate(obj.get("subsets") or ()):
        for field in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(subset.get(field) or ()):
                found += of_address(address.get("ip", ""), f"subsets[{i}].{field}[{j}].ip")
    return found


ENDPOINTS = Resource(
    gvr.ENDPOINTS,
    metadata_checks=MetadataChecks.BOTH,
    short_names=("ep",),
    has_generation=False,
    columns=(NAME, Column("Endpoints", _endpoints), AGE),
    create_on_update=True,
    deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    validate=Deferred("pilothouse.api.validate.endpoint", "validate_endpoints"),
    warnings=_warnings,
    update_warnings=lambda new, old: _warnings(new),
)
