"""The checks of the restricted level, which come on top of the baseline's or stand in for them."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.apiserver.admission.pod_security.violation import (
    Spec,
    Violation,
    adding_capabilities,
    containers_of,
    context_of,
    counted,
    quoted,
    setters_of,
)


def privilege_escalation(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    names = [
        container["name"]
        for container in containers_of(spec)
        if context_of(container).get("allowPrivilegeEscalation") is not False
    ]
    if not names:
        return None
    detail = f"{counted('container', names)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", detail)


def capabilities_restricted(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    keeping = [
        container["name"]
        for container in containers_of(spec)
        if "ALL" not in ((context_of(container).get("capabilities") or {}).get("drop") or ())
    ]
    adding, added = adding_capabilities(spec, frozenset(("NET_BIND_SERVICE",)))
    details = []
    if keeping:
        details.append(f'{counted("container", keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        names = counted("container", adding)
        details.append(f"{names} must not include {quoted(added)} in securityContext.capabilities.add")
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


_FREE_VOLUMES = frozenset(
    (
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"),
        *("persistentVolumeClaim", "projected", "secret"),
    )
)
_OTHER_VOLUMES = (
    *("hostPath", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs", "rbd"),
    *("flexVolume", "cinder", "cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk"),
    *("photonPersistentDisk", "portworxVolume", "scaleIO", "storageos"),
)


def restricted_volumes(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    names, types = [], set()
    for volume in spec.get("volumes") or ():
        if not _FREE_VOLUMES & {key for key, value in volume.items() if value is not None}:
            names.append(volume["name"])
            types.add(next((type_ for type_ in _OTHER_VOLUMES if volume.get(type_) is not None), "unknown"))
    if not names:
        return None
    noun = "restricted volume type" if len(types) == 1 else "restricted volume types"
    return Violation("restricted volume types", f"{counted('volume', names, 'use')} {noun} {quoted(sorted(types))}")


def run_as_non_root(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    pod = context_of(spec).get("runAsNonRoot")
    states = [(container["name"], context_of(container).get("runAsNonRoot")) for container in containers_of(spec)]
    names = [name for name, value in states if value is False]
    if pod is False or names:
        setters = setters_of(pod is False, names)
        return Violation("runAsNonRoot != true", f"{setters} must not set securityContext.runAsNonRoot=false")
    missing = [name for name, value in states if value is None and not pod]
    if not missing:
        return None
    detail = f"pod or {counted('container', missing)} must set securityContext.runAsNonRoot=true"
    return Violation("runAsNonRoot != true", detail)


def run_as_user(spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    pod_is_root = context_of(spec).get("runAsUser") == 0
    names = [container["name"] for container in containers_of(spec) if context_of(container).get("runAsUser") == 0]
    if not pod_is_root and not names:
        return None
    return Violation("runAsUser=0", f"{setters_of(pod_is_root, names)} must not set runAsUser=0")
