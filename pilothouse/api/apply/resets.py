"""Fields that a write through one door never changes, and so never owns: the status through the object, the object through its status.

The rule is general; the exceptions are those of upstream's strategies (`GetResetFields` in `pkg/registry/<group>/<kind>/strategy.go`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pilothouse.api.apply import sets
from pilothouse.api.apply.sets import FieldSet
from pilothouse.api.resource import Resource

_METADATA_TOO = ("metadata", "spec")
_STATUS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "pods"): ("spec", "metadata.deletionTimestamp", "metadata.ownerReferences"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): _METADATA_TOO,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _METADATA_TOO,
    ("apiregistration.k8s.io", "apiservices"): _METADATA_TOO,
    ("apps", "deployments"): ("spec", "metadata.labels"),
    ("certificates.k8s.io", "certificatesigningrequests"): ("spec", "status.conditions"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): _METADATA_TOO,
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): _METADATA_TOO,
    ("networking.k8s.io", "servicecidrs"): _METADATA_TOO,
    ("resource.k8s.io", "devicetaintrules"): _METADATA_TOO,
    ("resource.k8s.io", "resourceclaims"): _METADATA_TOO,
    ("storage.k8s.io", "volumeattachments"): _METADATA_TOO,
    ("storagemigration.k8s.io", "storageversionmigrations"): _METADATA_TOO,
}
"""What a write of the status leaves alone, where that is not just the spec."""
_OTHERS: Mapping[tuple[str, str, str], tuple[str, ...]] = {
    ("", "namespaces", "finalize"): ("status",),
    ("certificates.k8s.io", "certificatesigningrequests", ""): ("spec", "status"),
    ("certificates.k8s.io", "certificatesigningrequests", "approval"): ("spec", "status.certificate"),
}


@dataclass(frozen=True, slots=True)
class Resets:
    """What a write does not reach: whole `roots` of the object, or single fields `within` them."""

    roots: frozenset[str] = frozenset()
    within: FieldSet = field(default_factory=dict)

    def applied_to(self, fields: FieldSet) -> FieldSet:
        """The fields that the write does reach. `roots` must be gone already."""
        return sets.without(fields, self.within) if self.within else fields


def resets_of(resource: Resource, subresource: str) -> Resets:
    """For writes of a kind through a subresource (empty for the object itself)."""
    group, plural = resource.gvr.group, resource.gvr.plural
    paths = _OTHERS.get((group, plural, subresource))
    if paths is None:
        if subresource == "status":
            is_custom = bool(resource.stored_version)
            paths = _METADATA_TOO if is_custom else _STATUS.get((group, plural), ("spec",))
        else:
            paths = ("status",) if resource.has_status and not subresource else ()
    within = [tuple(f"f:{name}" for name in path.split(".")) for path in paths if "." in path]
    return Resets(frozenset(path for path in paths if "." not in path), sets.of_paths(within))
