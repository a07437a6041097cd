"""EndpointSlice."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.address_warnings import of_address
from pilothouse.api.kinds.columns import AGE, NAME, View, joined, text
from pilothouse.api.meta import Object
from pilothouse.api.names import dns_subdomain
from pilothouse.api.resource import Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _ports(obj: View, now: float) -> str:
    return joined(str(port.get("port", port.get("name", "*"))) for port in obj.get("ports") or ())


def _endpoints(obj: View, now: float) -> str:
    return joined(address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ())


_HOSTNAME = "kubernetes.io/hostname"
_CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")
"""Whose slices hold no odd addresses."""


def _warnings(obj: View) -> list[str]:
    found = ["spec.addressType: FQDN endpoints are deprecated"] if obj.get("addressType") == "FQDN" else []
    if (obj["metadata"].get("labels") or {}).get("endpointslice.kubernetes.io/managed-by") not in _CONTROLLERS:
        for i, endpoint in enumerate(obj.get("endpoints") or ()):
            for j, address in enumerate(endpoint.get("addresses") or ()):
                found += of_address(address, f"endpoints[{i}].addresses[{j}]")
    return found


def _prepare_create(draft: Object) -> None:
    _drop_topology(draft, {})


def _drop_topology(draft: Object, old: View) -> None:
    """The topology of the first version is not written at this one; a node that only it names stays the endpoint's."""
    endpoints, before = draft.get("endpoints") or (), old.get("endpoints") or ()
    if not any("deprecatedTopology" in endpoint for endpoint in endpoints) or endpoints == before:
        return
    known = {(endpoint.get("deprecatedTopology") or {}).get(_HOSTNAME) for endpoint in before}
    for endpoint in endpoints:
        node = (endpoint.pop("deprecatedTopology", None) or {}).get(_HOSTNAME)
        if node and node in known and "nodeName" not in endpoint and not dns_subdomain(node):
            endpoint["nodeName"] = node


def _prepare_update(draft: Object, old: View) -> None:
    """Labels count as well: a new generation tells of those that changed."""
    if draft["metadata"].get("labels") != old["metadata"].get("labels"):
        draft["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    _drop_topology(draft, old)


ENDPOINT_SLICE = Resource(
    gvr.ENDPOINT_SLICES,
    metadata_checks=MetadataChecks.AS_NEW,
    columns=(NAME, text("AddressType", "addressType"), Column("Ports", _ports), Column("Endpoints", _endpoints), AGE),
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    warnings=_warnings,
    update_warnings=lambda new, old: _warnings(new),
    validate=Deferred("pilothouse.api.validate.endpoint", "validate_endpoint_slice"),
    validate_update=Deferred("pilothouse.api.validate.endpoint", "validate_endpoint_slice_update"),
)
