"""The objects that a pod refers to: what its node may read, and what must exist before its containers start.

Source: `pkg/api/v1/pod/util.go`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pilothouse.api.meta import name_of

Pod = Mapping[str, Any]


def containers(pod: Pod) -> Iterator[Mapping[str, Any]]:
    """Init, main and ephemeral containers."""
    spec = pod.get("spec") or {}
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or ()


def secrets(pod: Pod) -> Iterator[str]:
    """Names of the Secrets it refers to, in its namespace; one may come more than once."""
    spec = pod.get("spec") or {}
    for reference in spec.get("imagePullSecrets") or ():
        if name := reference.get("name"):
            yield name
    yield from _environment(pod, "secretRef", "secretKeyRef")
    for volume in spec.get("volumes") or ():
        for source, key in _SECRET_VOLUMES.items():
            if (found := volume.get(source)) and (name := _name(found.get(key))):
                yield name
        for projection in (volume.get("projected") or {}).get("sources") or ():
            if name := _name(projection.get("secret")):
                yield name


def config_maps(pod: Pod) -> Iterator[str]:
    """Names of the ConfigMaps it refers to, in its namespace."""
    yield from _environment(pod, "configMapRef", "configMapKeyRef")
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if name := _name(volume.get("configMap")):
            yield name
        for projection in (volume.get("projected") or {}).get("sources") or ():
            if name := _name(projection.get("configMap")):
                yield name


def persistent_volume_claims(pod: Pod) -> Iterator[str]:
    """Names of the claims it uses, those made for its ephemeral volumes among them."""
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            yield claim["claimName"]
        elif volume.get("ephemeral") is not None:
            yield f"{name_of(pod)}-{volume['name']}"


def resource_claims(pod: Pod) -> Iterator[str]:
    """Names of the ResourceClaims it uses, those generated from templates as far as its status tells them."""
    status = pod.get("status") or {}
    for claim in (pod.get("spec") or {}).get("resourceClaims") or ():
        if name := claim.get("resourceClaimName"):
            yield name
    for claim in status.get("resourceClaimStatuses") or ():
        if name := claim.get("resourceClaimName"):
            yield name
    if name := (status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName"):
        yield name


def has_token_projection(pod: Pod) -> bool:
    return any(
        projection.get("serviceAccountToken")
        for volume in (pod.get("spec") or {}).get("volumes") or ()
        for projection in (volume.get("projected") or {}).get("sources") or ()
    )


_SECRET_VOLUMES = {
    "secret": "secretName",
    "azureFile": "secretName",
    "cephfs": "secretRef",
    "cinder": "secretRef",
    "flexVolume": "secretRef",
    "iscsi": "secretRef",
    "rbd": "secretRef",
    "scaleIO": "secretRef",
    "storageos": "secretRef",
    "csi": "nodePublishSecretRef",
}


def _environment(pod: Pod, from_key: str, value_key: str) -> Iterator[str]:
    for container in containers(pod):
        for source in container.get("envFrom") or ():
            if name := _name(source.get(from_key)):
                yield name
        for variable in container.get("env") or ():
            if name := _name((variable.get("valueFrom") or {}).get(value_key)):
                yield name


def _name(reference: Any) -> str:
    if isinstance(reference, str):
        return reference
    return str(reference.get("name") or "") if reference else ""
