"""Pods as they are created, and the templates from which controllers make them. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api import names, quantity
from pilothouse.api.path import (
    FieldError,
    Path,
    duplicate,
    field_forbidden,
    field_not_found,
    invalid,
    required,
    too_long,
)
from pilothouse.api.validate import scheduling
from pilothouse.api.validate.container import (
    PodFacts,
    check_containers,
    check_ephemeral_containers,
    check_image_trimmed,
    check_init_containers,
)
from pilothouse.api.validate.metadata import check_annotations, check_labels
from pilothouse.api.validate.operating_system import (
    CONTAINER_FIELDS,
    check_host_process,
    check_os,
    each_container,
    uses_host_process,
)
from pilothouse.api.validate.resources import (
    HUGE_PAGES,
    check_pod_resource_name,
    check_requirements,
)
from pilothouse.api.validate.security import check_pod_security
from pilothouse.api.validate.shown import shown
from pilothouse.api.validate.values import (
    Errors,
    Part,
    check_address,
    check_name,
    check_required_choice,
)
from pilothouse.api.validate.volume import check_volumes

MIRROR = "kubernetes.io/config.mirror"
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP = ("seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/")
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_CLAIM = {"Name": "", "ResourceClaimName": None, "ResourceClaimTemplateName": None}
_METADATA = Path("metadata")
_SPEC = Path("spec")
_NO_PART: Mapping[str, Any] = {}


def validate_pod(pod: Part) -> list[FieldError]:
    """Faults in a pod's spec and annotations; of a pod that is being created, also what may only come later."""
    errors: Errors = []
    metadata, spec = pod["metadata"], pod.get("spec") or _NO_PART
    if annotations := metadata.get("annotations"):
        check_pod_annotations(annotations, spec, _METADATA.child("annotations"), errors)
    check_pod_spec(spec, metadata, _SPEC, errors, is_pod=True)
    if not spec.get("serviceAccountName"):
        _check_no_tokens(spec, errors)
    for field in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            image = container.get("image", "")
            if image != image.strip():
                check_image_trimmed(container, _SPEC.child(field).index(i), errors)
    if "resourceVersion" not in metadata:
        if spec.get("ephemeralContainers"):
            errors.append(field_forbidden(_SPEC.child("ephemeralContainers"), "cannot be set on create"))
        if spec.get("nodeName") and spec.get("schedulingGates"):
            text = "cannot be set until all schedulingGates have been cleared"
            errors.append(field_forbidden(_SPEC.child("nodeName"), text))
    return errors


def check_pod_template(template: Part, path: Path, errors: Errors) -> None:
    """A `PodTemplateSpec`: labels, annotations and a spec."""
    spec = template.get("spec") or _NO_PART
    check_template_labels(template, path, errors)
    check_pod_spec(spec, _NO_PART, path.child("spec"), errors, is_pod=False)
    if spec.get("ephemeralContainers"):
        text = "ephemeral containers not allowed in pod template"
        errors.append(field_forbidden(path.child("spec", "ephemeralContainers"), text))


def check_template_labels(template: Part, path: Path, errors: Errors) -> None:
    """The labels and annotations of a pod template."""
    metadata = template.get("metadata") or _NO_PART
    if labels := metadata.get("labels"):
        check_labels(labels, path.child("labels"), errors)
    if annotations := metadata.get("annotations"):
        check_annotations(annotations, path.child("annotations"), errors)
        check_pod_annotations(annotations, template.get("spec") or _NO_PART, path.child("annotations"), errors)


def check_pod_annotations(annotations: Mapping[str, str], spec: Part, path: Path, errors: Errors) -> None:
    """Annotations with a meaning."""
    if MIRROR in annotations and not spec.get("nodeName"):
        text = "must set spec.nodeName if mirror pod annotation is set"
        errors.append(invalid(path.key(MIRROR), annotations[MIRROR], text))
    cost = annotations.get(_DELETION_COST)
    if cost is not None and not _is_deletion_cost(cost):
        errors.append(invalid(path.key(_DELETION_COST), cost, "must be a 32bit integer"))
    for key, value in annotations.items():
        if key.startswith(_SECCOMP):
            local = value.startswith("localhost/") and ".." not in value.split("/")
            if value not in ("runtime/default", "docker/default", "unconfined") and not local:
                errors.append(invalid(path.key(key), value, "must be a valid seccomp profile"))
        elif key.startswith(_APP_ARMOR):
            name = key.removeprefix(_APP_ARMOR)
            if all(container.get("name") != name for _, container in each_container(spec, Path())):
                errors.append(invalid(path.key(key), name, "container not found"))
            if value not in ("", "runtime/default", "unconfined") and not value.startswith("localhost/"):
                errors.append(invalid(path.key(key), value, f'invalid AppArmor profile name: "{value}"'))


def _is_deletion_cost(text: str) -> bool:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or (len(digits) > 1 and digits[0] == "0") or text == "-0":
        return False
    return -(2**31) <= int(text) < 2**31


def check_pod_spec(spec: Part, metadata: Part, path: Path, errors: Errors, *, is_pod: bool) -> None:
    """`metadata` is the pod's own, empty for a template; `is_pod` tells a pod from a template."""
    get = spec.get
    grace = get("terminationGracePeriodSeconds")
    if grace is None:
        errors.append(required(path.child("terminationGracePeriodSeconds")))
    volumes: Mapping[str, Part] = _NO_PART
    if listed := get("volumes"):
        volumes = check_volumes(listed, metadata.get("name", ""), path.child("volumes"), errors, is_pod=is_pod)
    claims = get("resourceClaims") or ()
    if claims:
        _check_resource_claims(claims, metadata, path.child("resourceClaims"), errors)
    facts = PodFacts(
        volumes,
        [claim["name"] for claim in claims if claim.get("name")],
        grace,
        get("restartPolicy", ""),
        get("hostUsers", True),
        get("os"),
    )
    containers, init_containers = get("containers") or (), get("initContainers") or ()
    check_containers(containers, facts, path.child("containers"), errors)
    if init_containers:
        check_init_containers(init_containers, containers, facts, path.child("initContainers"), errors)
    if ephemeral := get("ephemeralContainers"):
        others = [container.get("name", "") for container in (*containers, *init_containers)]
        check_ephemeral_containers(ephemeral, others, facts, path.child("ephemeralContainers"), errors)
    if (resources := get("resources")) is not None:
        _check_pod_resources(spec, resources, facts, path.child("resources"), errors)
    if get("hostNetwork"):
        _check_host_network_ports(containers, path.child("containers"), errors, is_pod)
    check_required_choice(spec, "restartPolicy", _RESTART_POLICIES, path, errors)
    check_required_choice(spec, "dnsPolicy", _DNS_POLICIES, path, errors)
    if selector := get("nodeSelector"):
        check_labels(selector, path.child("nodeSelector"), errors)
    if context := get("securityContext"):
        check_pod_security(context, spec, path.child("securityContext"), errors)
    if get("shareProcessNamespace") and get("hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid(path.child("securityContext", "shareProcessNamespace"), True, text))
    _check_placement(spec, path, errors)
    if uses_host_process(spec):
        check_host_process(spec, path, errors)
    if facts.host_users is False:
        _check_own_users(spec, path, errors)
    if "hostnameOverride" in spec:
        _check_hostname_override(spec, path.child("hostnameOverride"), errors)
    _check_names(spec, path, errors)
    _check_running(spec, path, errors)
    if (os := facts.os) is not None:
        check_os(os, spec, path, errors)
    if (group := get("schedulingGroup")) is not None:
        _check_scheduling_group(group, path.child("schedulingGroup", "podGroupName"), errors)
    _check_file_keys(spec, path, errors)


def _check_placement(spec: Part, path: Path, errors: Errors) -> None:
    """What the pod waits for, and its DNS."""
    get = spec.get
    if affinity := get("affinity"):
        scheduling.check_affinity(affinity, path.child("affinity"), errors)
    config = get("dnsConfig")
    if config is not None or get("dnsPolicy") == "None":
        _check_dns_config(config, get("dnsPolicy", ""), path.child("dnsConfig"), errors)
    if gates := get("readinessGates"):
        for i, gate in enumerate(gates):
            here = path.child("readinessGates").index(i).child("conditionType")
            check_name(names.label_key, gate.get("conditionType", ""), here, errors)
    if gates := get("schedulingGates"):
        scheduling.check_scheduling_gates(gates, path.child("schedulingGates"), errors)
    if constraints := get("topologySpreadConstraints"):
        scheduling.check_topology_spread(constraints, path.child("topologySpreadConstraints"), errors)


def _check_names(spec: Part, path: Path, errors: Errors) -> None:
    """Names of other objects and of hosts, and what goes between them."""
    get = spec.get
    for field in ("serviceAccountName", "nodeName"):
        if value := get(field):
            check_name(names.dns_subdomain, value, path.child(field), errors)
    deadline = get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        errors.append(invalid(path.child("activeDeadlineSeconds"), deadline, names.between(1, 2**31 - 1)))
    for field in ("hostname", "subdomain"):
        if value := get(field):
            check_name(names.dns_label, value, path.child(field), errors)
    if tolerations := get("tolerations"):
        scheduling.check_tolerations(tolerations, path.child("tolerations"), errors)
    for i, alias in enumerate(get("hostAliases") or ()):
        here = path.child("hostAliases").index(i)
        check_address(alias.get("ip", ""), here.child("ip"), errors)
        for j, hostname in enumerate(alias.get("hostnames") or ()):
            check_name(names.dns_subdomain, hostname, here.child("hostnames").index(j), errors)


def _check_running(spec: Part, path: Path, errors: Errors) -> None:
    """The classes of the pod, and what it takes beside its containers."""
    get = spec.get
    if value := get("priorityClassName"):
        check_name(names.dns_subdomain, value, path.child("priorityClassName"), errors)
    if (value := get("runtimeClassName")) is not None:
        check_name(names.dns_subdomain, value, path.child("runtimeClassName"), errors)
    if "preemptionPolicy" in spec:
        check_required_choice(spec, "preemptionPolicy", ("PreemptLowerPriority", "Never"), path, errors)
    if overhead := get("overhead"):
        check_requirements({"limits": overhead}, (), path.child("overhead"), errors)


def _check_scheduling_group(group: Part, path: Path, errors: Errors) -> None:
    name = group.get("podGroupName")
    if name is None:
        errors.append(invalid(path, None, "must specify one of: `podGroupName`"))
    else:
        check_name(names.dns_subdomain, name, path, errors)


def _check_hostname_override(spec: Part, path: Path, errors: Errors) -> None:
    if spec.get("setHostnameAsFQDN"):
        errors.append(field_forbidden(path, "may not be specified when setHostnameAsFQDN is true"))
    if spec.get("hostNetwork"):
        errors.append(field_forbidden(path, "may not be specified when hostNetwork is true"))
    name = spec["hostnameOverride"]
    if len(name) > 64:
        errors.append(too_long(path, 64))
    check_name(names.dns_subdomain, name, path, errors)


def _check_dns_config(config: Part | None, policy: str, path: Path, errors: Errors) -> None:
    if policy == "None":
        if config is None:
            errors.append(required(path, "must provide `dnsConfig` when `dnsPolicy` is None"))
            return
        if not config.get("nameservers"):
            text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            errors.append(required(path.child("nameservers"), text))
            return
    config = config or _NO_PART
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > 3:
        errors.append(invalid(path.child("nameservers"), servers, "must not have more than 3 nameservers"))
    for i, server in enumerate(servers):
        check_address(server, path.child("nameservers").index(i), errors)
    if len(searches) > 32:
        errors.append(invalid(path.child("searches"), searches, "must not have more than 32 search paths"))
    if len(" ".join(searches)) > 2048:
        text = "must not have more than 2048 characters (including spaces) in the search list"
        errors.append(invalid(path.child("searches"), searches, text))
    for i, search in enumerate(searches):
        if search != ".":
            here = path.child("searches").index(i)
            check_name(names.dns_subdomain_with_underscore, search.removesuffix("."), here, errors)
    for i, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.append(required(path.child("options").index(i), "must not be empty"))


def _check_resource_claims(claims: list[Part], metadata: Part, path: Path, errors: Errors) -> None:
    seen: set[str] = set()
    for i, claim in enumerate(claims):
        if MIRROR in (metadata.get("annotations") or ()):
            errors.append(field_forbidden(Path("[]"), "static pods do not support resource claims"))
            continue
        here, name = path.index(i), claim.get("name", "")
        if not name:
            errors.append(required(here.child("name")))
        elif name in seen:
            errors.append(duplicate(here.child("name"), name))
        else:
            check_name(names.dns_label, name, here.child("name"), errors)
        seen.add(name)
        given = [field for field in ("resourceClaimName", "resourceClaimTemplateName") if field in claim]
        if len(given) > 1:
            text = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            errors.append(invalid(here, shown(claim, _CLAIM), text))
        if not given:
            text = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            errors.append(invalid(here, shown(claim, _CLAIM), text))
        for field in given:
            check_name(names.dns_subdomain, claim[field], here.child(field), errors)


def _check_pod_resources(spec: Part, resources: Part, facts: PodFacts, path: Path, errors: Errors) -> None:
    """Resources that the pod's containers share."""
    if facts.os is not None and facts.os.get("name") == "windows":
        errors.append(field_forbidden(path, "may not be set for a windows pod"))
        return
    if resources.get("claims"):
        errors.append(field_forbidden(path.child("claims"), "claims may not be set for Resources at pod-level"))
    check_requirements(resources, facts.claims, path, errors, check_name=check_pod_resource_name)
    for field, of_containers in (("requests", _sum(spec, "requests")), ("limits", _sum(spec, "limits"))):
        own = resources.get(field) or {}
        for name, amount in of_containers.items():
            if (
                name in own
                and amount > quantity.parse(str(own[name]))
                and (field == "requests" or name.startswith(HUGE_PAGES))
            ):
                text = f"must be greater than or equal to aggregate container {field} of {amount}"
                errors.append(invalid(path.child(field).key(name), str(own[name]), text))
    limits = resources.get("limits") or {}
    for i, container in enumerate(spec.get("containers") or ()):
        for name, limit in ((container.get("resources") or {}).get("limits") or {}).items():
            if name in limits and quantity.parse(str(limit)) > quantity.parse(str(limits[name])):
                text = f"must be less than or equal to pod limits of {limits[name]}"
                errors.append(invalid(path.child("containers").index(i).key(name).child("limits"), str(limit), text))


def _sum(spec: Part, field: str) -> dict[str, quantity.Quantity]:
    """What the containers need together at any time: sidecars run beside those that start after them."""
    total: dict[str, quantity.Quantity] = {}
    most: dict[str, quantity.Quantity] = {}
    sidecars: dict[str, quantity.Quantity] = {}
    for container in spec.get("containers") or ():
        _add(total, container, field)
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            _add(total, container, field)
            _add(sidecars, container, field)
            needed = dict(sidecars)
        else:
            needed = dict(sidecars)
            _add(needed, container, field)
        for name, amount in needed.items():
            most[name] = max(most.get(name, amount), amount)
    return {
        name: max(total.get(name, quantity.Quantity(0)), most.get(name, quantity.Quantity(0)))
        for name in (*total, *most)
    }


def _add(total: dict[str, quantity.Quantity], container: Part, field: str) -> None:
    for name, amount in ((container.get("resources") or {}).get(field) or {}).items():
        total[name] = total.get(name, quantity.Quantity(0)) + quantity.parse(str(amount))


def _check_host_network_ports(containers: Any, path: Path, errors: Errors, is_pod: bool) -> None:
    for i, container in enumerate(containers):
        for j, port in enumerate(container.get("ports") or ()):
            host = port.get("hostPort", 0)
            if (is_pod or host) and host != port.get("containerPort", 0):
                text = "must match `containerPort` when `hostNetwork` is true"
                errors.append(invalid(path.index(i).child("ports").index(j).child("hostPort"), host, text))


def _check_no_tokens(spec: Part, errors: Errors) -> None:
    for i, volume in enumerate(spec.get("volumes") or ()):
        for j, source in enumerate((volume.get("projected") or _NO_PART).get("sources") or ()):
            if "serviceAccountToken" in source:
                here = _SPEC.child("volumes").index(i).child("projected", "sources").index(j)
                text = "must not be specified when serviceAccountName is not set"
                errors.append(field_forbidden(here.child("serviceAccountToken"), text))


def _check_own_users(spec: Part, path: Path, errors: Errors) -> None:
    """A pod with its own user namespace shares no other with the node."""
    text = "when `hostUsers` is false"
    for field, spelt in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(field):
            errors.append(field_forbidden(path.child(spelt), text))
    for here, container in each_container(spec, path):
        if container.get("volumeDevices"):
            errors.append(field_forbidden(here.child("volumeDevices"), text))


def _check_file_keys(spec: Part, path: Path, errors: Errors) -> None:
    """Variables that come from files must name a volume of type emptyDir."""
    for field in CONTAINER_FIELDS:
        for i, container in enumerate(spec.get(field) or ()):
            for j, variable in enumerate(container.get("env") or ()):
                ref = (variable.get("valueFrom") or _NO_PART).get("fileKeyRef")
                if ref is None:
                    continue
                here = path.child(field).index(i).child("env").index(j).child("valueFrom", "fileKeyRef", "volumeName")
                name = ref.get("volumeName", "")
                volume = next((each for each in spec.get("volumes") or () if each.get("name") == name), None)
                if volume is None:
                    errors.append(field_not_found(here, name))
                elif "emptyDir" not in volume:
                    errors.append(invalid(here, name, "referenced volume must be of type emptyDir"))
