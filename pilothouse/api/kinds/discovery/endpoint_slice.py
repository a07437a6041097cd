"""EndpointSlice."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, View, joined, text
from pilothouse.api.resource import Column, Resource


def _ports(obj: View, now: float) -> str:
    return joined(str(port.get("port", port.get("name", "*"))) for port in obj.get("ports") or ())


def _endpoints(obj: View, now: float) -> str:
    return joined(address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ())


ENDPOINT_SLICE = Resource(
    gvr.ENDPOINT_SLICES,
    columns=(NAME, text("AddressType", "addressType"), Column("Ports", _ports), Column("Endpoints", _endpoints), AGE),
)
