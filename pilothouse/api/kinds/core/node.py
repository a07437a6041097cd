"""Node."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.address_warnings import of_subnet
from pilothouse.api.kinds.columns import AGE, NAME, NONE, UNKNOWN, View, at, flag_of, wide
from pilothouse.api.kinds.disabled_fields import of_node
from pilothouse.api.meta import condition_of
from pilothouse.api.resource import STATUS, Column, MetadataChecks, Resource, Subresource
from pilothouse.kit.deferred import Deferred

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE = "kubernetes.io/role"


def _status(obj: View, now: float) -> str:
    ready = condition_of(at(obj, "status", "conditions"), "Ready")
    state = "Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"
    return f"{state},SchedulingDisabled" if at(obj, "spec", "unschedulable") else state


def _roles(obj: View, now: float) -> str:
    labels = obj["metadata"].get("labels") or {}
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    roles.add(labels.get(_ROLE, ""))
    return ",".join(sorted(roles - {""})) or NONE


def _address(type_: str) -> Column:
    def cell(obj: View) -> str:
        addresses = at(obj, "status", "addresses") or ()
        return next((str(found["address"]) for found in addresses if found["type"] == type_), NONE)

    return wide("Internal-IP" if type_ == "InternalIP" else "External-IP", cell, f"The node's first {type_}.")


def _kernel(obj: View) -> str:
    kernel = at(obj, "status", "nodeInfo", "kernelVersion") or UNKNOWN
    architecture = at(obj, "status", "nodeInfo", "architecture")
    return f"{kernel} ({architecture})" if architecture else str(kernel)


def _warnings(obj: View) -> list[str]:
    found = []
    if at(obj, "spec", "configSource") is not None:
        found.append("spec.configSource: the feature is removed")
    if at(obj, "spec", "externalID"):
        found.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
    for i, subnet in enumerate(at(obj, "spec", "podCIDRs") or ()):
        found += of_subnet(subnet, f"spec.podCIDRs[{i}]")
    return found


NODE = Resource(
    gvr.NODES,
    metadata_checks=MetadataChecks.BOTH,
    short_names=("no",),
    subresources=(
        Subresource(
            "proxy",
            ("create", "delete", "get", "patch", "update"),
            kind="NodeProxyOptions",
            version="v1",
            passes_methods=True,
        ),
        STATUS,
    ),
    has_generation=False,
    selectable={"spec.unschedulable": flag_of("spec", "unschedulable")},
    columns=(
        NAME,
        Column("Status", _status, description="Whether the node is ready and takes pods."),
        Column("Roles", _roles, description="The roles that the node's labels name."),
        AGE,
        Column("Version", lambda obj, now: at(obj, "status", "nodeInfo", "kubeletVersion") or ""),
        _address("InternalIP"),
        _address("ExternalIP"),
        wide("OS-Image", lambda obj: at(obj, "status", "nodeInfo", "osImage") or UNKNOWN),
        wide("Kernel-Version", _kernel),
        wide("Container-Runtime", lambda obj: at(obj, "status", "nodeInfo", "containerRuntimeVersion") or UNKNOWN),
    ),
    warnings=_warnings,
    update_warnings=lambda new, old: _warnings(new),
    drop_disabled=of_node,
    validate=Deferred("pilothouse.api.validate.node", "validate_node"),
    validate_update=Deferred("pilothouse.api.validate.node", "validate_node_update"),
    validate_status_update=Deferred("pilothouse.api.validate.node", "validate_node_status_update"),
)
