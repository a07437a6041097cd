"""What is accepted in a pod, or a pod template, and yet is doubtful: texts for `Warning` headers.

Source: upstream `pkg/api/pod/warnings.go`, `pkg/api/node/util.go`, `pkg/api/persistentvolumeclaim/util.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pilothouse.api.kinds.address_warnings import of_address
from pilothouse.api.kinds.columns import at
from pilothouse.api.kinds.volume_warnings import of_overlaps
from pilothouse.api.names import label_value

View = Mapping[str, Any]

DEPRECATED_NODE_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_VOLUME_PATHS = {"storageos": "storageOS"}
_WHOLE_BYTES = ("memory", "ephemeral-storage")
_NO_SELECTOR = "a null labelSelector results in matching no pod"


def of_name(obj: View, *, is_pod: bool = False) -> list[str]:
    """A name that is no DNS label makes odd host names."""
    from pilothouse.api import names

    faults = names.dns_label(obj["metadata"].get("name", ""))
    if not faults:
        return []
    where = "the Pod's hostname" if is_pod else "Pod names and hostnames"
    text = (
        f"metadata.name: this is used in {where}, which can result in surprising behavior; a DNS label is recommended"
    )
    return [f"{text}: [{' '.join(faults)}]"]


def of_template(*template: str, names_pods: bool = False) -> Callable[[View], Sequence[str]]:
    """A `warnings` hook for kinds with a pod template at a path; `names_pods` if pods are called after the object."""

    def warn(obj: View) -> list[str]:
        found = at(obj, *template) or {}
        own = of_name(obj) if names_pods else []
        return own + of_pod(found.get("spec") or {}, found.get("metadata") or {}, f"{'.'.join(template)}.")

    return warn


def of_changed_template(*template: str) -> Callable[[View, View], Sequence[str]]:
    """An `update_warnings` hook: what is doubtful about the template, if the update changed the spec."""
    warn = of_template(*template)

    def warn_if_changed(new: View, old: View) -> Sequence[str]:
        changed = new["metadata"].get("generation") != old["metadata"].get("generation")
        return warn(new) if changed else ()

    return warn_if_changed


def of_pod(spec: View, metadata: View, path: str = "") -> list[str]:
    """Everything doubtful about a pod; `path` is where it is, with a dot at the end, or empty."""
    here = f"{path}spec"
    found = [
        *_placement(spec, here),
        *_volumes(spec, f"{here}.volumes"),
        *_lists(spec, here),
        *_containers(spec, here),
        *_addresses(spec, here),
    ]
    if annotations := metadata.get("annotations"):
        found += _annotations(spec, annotations, f"{path}metadata.annotations")
    return found


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def _placement(spec: View, path: str) -> Iterator[str]:
    for key in spec.get("nodeSelector") or ():
        if key in DEPRECATED_NODE_LABELS:
            yield f"{path}.nodeSelector[{key}]: {DEPRECATED_NODE_LABELS[key]}"
    for i, spread in enumerate(spec.get("topologySpreadConstraints") or ()):
        here = f"{path}.topologySpreadConstraints[{i}]"
        key = spread.get("topologyKey", "")
        if key in DEPRECATED_NODE_LABELS:
            yield f"{here}.topologyKey: {key} is {DEPRECATED_NODE_LABELS[key]}"
        if "labelSelector" not in spread:
            yield f"{here}.labelSelector: {_NO_SELECTOR}"
    if affinity := spec.get("affinity"):
        yield from _affinity(affinity, f"{path}.affinity")


def _affinity(affinity: View, path: str) -> Iterator[str]:
    for i, term in enumerate(at(affinity, "nodeAffinity", _REQUIRED, "nodeSelectorTerms") or ()):
        yield from of_node_selector_term(term, f"{path}.nodeAffinity.{_REQUIRED}.nodeSelectorTerms[{i}]")
    for i, weighted in enumerate(at(affinity, "nodeAffinity", _PREFERRED) or ()):
        here = f"{path}.nodeAffinity.{_PREFERRED}[{i}].preference"
        yield from of_node_selector_term(weighted.get("preference") or {}, here, checks_values=True)
    for which in ("podAffinity", "podAntiAffinity"):
        for i, term in enumerate(at(affinity, which, _REQUIRED) or ()):
            if "labelSelector" not in term:
                yield f"{path}.{which}.{_REQUIRED}[{i}].labelSelector: {_NO_SELECTOR}"
        for i, weighted in enumerate(at(affinity, which, _PREFERRED) or ()):
            if "labelSelector" not in (weighted.get("podAffinityTerm") or {}):
                yield f"{path}.{which}.{_PREFERRED}[{i}].podAffinityTerm.labelSelector: {_NO_SELECTOR}"


def of_node_selector_term(term: View, path: str, *, checks_values: bool = False) -> Iterator[str]:
    """Labels of nodes that have another name now; and values that no label has, where nothing refuses them."""
    for i, expression in enumerate(term.get("matchExpressions") or ()):
        key = expression.get("key", "")
        if key in DEPRECATED_NODE_LABELS:
            yield f"{path}.matchExpressions[{i}].key: {key} is {DEPRECATED_NODE_LABELS[key]}"
        for j, value in enumerate((checks_values and expression.get("values")) or ()):
            for text in label_value(value):
                yield f"{path}.matchExpressions[{i}].values[{j}]: {value} is invalid, {text}"


def _annotations(spec: View, annotations: View, path: str) -> Iterator[str]:
    for key, text in _ANNOTATIONS.items():
        if key in annotations:
            yield f"{path}[{key}]: {text}"
    places = [("seccomp.security.alpha.kubernetes.io/pod", spec)]
    places += [
        (f"container.seccomp.security.alpha.kubernetes.io/{c.get('name', '')}", c) for c in spec.get("containers") or ()
    ]
    for key, holder in places:
        if key in annotations and not at(holder, "securityContext", "seccompProfile"):
            yield f'{path}[{key}]: non-functional in v1.27+; use the "seccompProfile" field instead'


def _volumes(spec: View, path: str) -> Iterator[str]:
    for i, volume in enumerate(spec.get("volumes") or ()):
        for source in volume.keys() & _VOLUMES.keys():
            yield f"{path}[{i}].{_VOLUME_PATHS.get(source, source)}: {_VOLUMES[source]}"
        if "ephemeral" in volume and (claim := at(volume, "ephemeral", "volumeClaimTemplate", "spec")):
            yield from of_claim(claim, f"{path}[{i}].ephemeral.volumeClaimTemplate.spec")
    yield from of_overlaps(spec.get("volumes") or ())


def of_claim(spec: View, path: str) -> Iterator[str]:
    """Fractions of a byte in the spec of a volume claim."""
    for which in ("requests", "limits"):
        if amounts := at(spec, "resources", which):
            yield from _fractions(amounts, ("storage",), f"{path}.resources.{which}")


def _fractions(amounts: View, keys: Sequence[str], path: str) -> Iterator[str]:
    for key in keys:
        text = amounts.get(key)
        if text is not None and str(text).endswith(("m", "u", "n")):
            from pilothouse.api import quantity

            if quantity.to_milli(text) % 1000:
                yield f'{path}[{key}]: fractional byte value "{text}" is invalid, must be an integer'


def _addresses(spec: View, path: str) -> Iterator[str]:
    for i, server in enumerate(at(spec, "dnsConfig", "nameservers") or ()):
        yield from of_address(server, f"{path}.dnsConfig.nameservers[{i}]")
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        yield from of_address(alias.get("ip", ""), f"{path}.hostAliases[{i}].ip")


def _lists(spec: View, path: str) -> Iterator[str]:
    for name, key in (("hostAliases", "ip"), ("imagePullSecrets", "name")):
        if name not in spec:
            continue
        seen: set[str] = set()
        for i, item in enumerate(spec[name]):
            value = item.get(key, "")
            if value in seen:
                yield f'{path}.{name}[{i}].{key}: duplicate {key} "{value}"'
            seen.add(value)
            if not value and name == "imagePullSecrets":
                yield f'{path}.{name}[{i}].{key}: invalid empty name ""'
    if "overhead" in spec:
        yield from _fractions(spec["overhead"], _WHOLE_BYTES, f"{path}.overhead")
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        where = f"{path}.terminationGracePeriodSeconds"
        yield f"{where}: must be >= 0; negative values are invalid and will be treated as 1"


def _containers(spec: View, path: str) -> Iterator[str]:
    ports: list[tuple[str, View]] = []
    for which in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(which) or ()):
            here = f"{path}.{which}[{i}]"
            if resources := container.get("resources"):
                for kind, amounts in resources.items():
                    if kind in ("limits", "requests"):
                        yield from _fractions(amounts, _WHOLE_BYTES, f"{here}.resources.{kind}")
            if len(environment := container.get("env") or ()) > 1:
                yield from _environment(environment, f"{here}.env")
            ports += [(f"{here}.ports[{n}]", port) for n, port in enumerate(container.get("ports") or ())]
    if ports:
        yield from _ports(ports)


def _environment(environment: Sequence[View], path: str) -> Iterator[str]:
    seen: set[str] = set()
    for i, variable in enumerate(environment):
        name = variable.get("name", "")
        if name in seen:
            value, reference = variable.get("value", ""), f"$({name})"
            extends = "valueFrom" not in variable and reference in value and value != reference
            if not extends:
                yield f'{path}[{i}]: hides previous definition of "{name}", which may be dropped when using apply'
        seen.add(name)


def _ports(ports: Sequence[tuple[str, View]]) -> Iterator[str]:
    numbers: dict[tuple[int, str], list[tuple[str, str, int]]] = {}
    for here, port in ports:
        host_ip, host_port = port.get("hostIP", ""), port.get("hostPort", 0)
        if host_ip and not host_port:
            told = {"Name": port.get("name", ""), "HostPort": 0, "ContainerPort": port.get("containerPort", 0)}
            told |= {"Protocol": port.get("protocol", ""), "HostIP": host_ip}
            yield f"{here}: hostIP set without hostPort: {{{' '.join(f'{key}:{value}' for key, value in told.items())}}}"
        others = numbers.setdefault((port.get("containerPort", 0), port.get("protocol", "")), [])
        for other, other_ip, other_port in others:
            if (host_ip, host_port) == (other_ip, other_port):
                yield f"{here}: duplicate port definition with {other}"
            elif not host_port or not other_port:
                yield f"{here}: overlapping port definition with {other}"
            elif host_port == other_port and bool(host_ip) != bool(other_ip):
                yield f"{here}: dangerously ambiguous port definition with {other}"
        others.append((here, host_ip, host_port))
    called: dict[str, str] = {}
    for here, port in ports:
        name = port.get("name")
        if not name:
            continue
        first = called.setdefault(name, here)
        if first != here:
            text = f'duplicate port name "{name}" with {first}'
            yield f"{here}: {text}, services and probes that select ports by name will use {first}"
