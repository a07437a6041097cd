"""What is accepted in a pod, or a pod template, and yet is doubtful: texts for `Warning` headers.

Source: upstream `pkg/api/pod/warnings.go`, `pkg/api/node/util.go`, `pkg/api/persistentvolumeclaim/util.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pilothouse.api.kinds.columns import at
from pilothouse.api.path import Path

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
        return own + of_pod(found.get("spec") or {}, found.get("metadata") or {}, Path(".".join(template)))

    return warn


def of_changed_template(*template: str) -> Callable[[View, View], Sequence[str]]:
    """An `update_warnings` hook: what is doubtful about the template, if the update changed the spec."""
    warn = of_template(*template)

    def warn_if_changed(new: View, old: View) -> Sequence[str]:
        changed = new["metadata"].get("generation") != old["metadata"].get("generation")
        return warn(new) if changed else ()

    return warn_if_changed


def of_pod(spec: View, metadata: View, path: Path) -> list[str]:
    """Everything doubtful about a pod at `path`."""
    return [
        *_placement(spec, path.child("spec")),
        *_annotations(spec, metadata, path.child("metadata", "annotations")),
        *_volumes(spec, path.child("spec", "volumes")),
        *_lists(spec, path.child("spec")),
        *_containers(spec, path.child("spec")),
    ]


def _placement(spec: View, path: Path) -> Iterator[str]:
    for key in spec.get("nodeSelector") or ():
        if key in DEPRECATED_NODE_LABELS:
            yield f"{path.child('nodeSelector').key(key)}: {DEPRECATED_NODE_LABELS[key]}"
    affinity = spec.get("affinity") or {}
    required, preferred = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    at_node = path.child("affinity", "nodeAffinity")
    for i, term in enumerate(at(affinity, "nodeAffinity", required, "nodeSelectorTerms") or ()):
        yield from of_node_selector_term(term, at_node.child(required, "nodeSelectorTerms").index(i))
    for i, weighted in enumerate(at(affinity, "nodeAffinity", preferred) or ()):
        yield from of_node_selector_term(
            weighted.get("preference") or {}, at_node.child(preferred).index(i).child("preference")
        )
    for i, spread in enumerate(spec.get("topologySpreadConstraints") or ()):
        here = path.child("topologySpreadConstraints").index(i)
        key = spread.get("topologyKey", "")
        if key in DEPRECATED_NODE_LABELS:
            yield f"{here.child('topologyKey')}: {key} is {DEPRECATED_NODE_LABELS[key]}"
        if "labelSelector" not in spread:
            yield f"{here.child('labelSelector')}: {_NO_SELECTOR}"
    for which in ("podAffinity", "podAntiAffinity"):
        here = path.child("affinity", which)
        for i, term in enumerate(at(affinity, which, required) or ()):
            if "labelSelector" not in term:
                yield f"{here.child(required).index(i).child('labelSelector')}: {_NO_SELECTOR}"
        for i, weighted in enumerate(at(affinity, which, preferred) or ()):
            if "labelSelector" not in (weighted.get("podAffinityTerm") or {}):
                yield f"{here.child(preferred).index(i).child('podAffinityTerm', 'labelSelector')}: {_NO_SELECTOR}"


def of_node_selector_term(term: View, path: Path) -> Iterator[str]:
    """Labels of nodes that have another name now."""
    for i, expression in enumerate(term.get("matchExpressions") or ()):
        key = expression.get("key", "")
        if key in DEPRECATED_NODE_LABELS:
            yield f"{path.child('matchExpressions').index(i).child('key')}: {key} is {DEPRECATED_NODE_LABELS[key]}"


def _annotations(spec: View, metadata: View, path: Path) -> Iterator[str]:
    annotations = metadata.get("annotations") or {}
    if not annotations:
        return
    for key, text in _ANNOTATIONS.items():
        if key in annotations:
            yield f"{path.key(key)}: {text}"
    seccomp = 'non-functional in v1.27+; use the "seccompProfile" field instead'
    places = [("seccomp.security.alpha.kubernetes.io/pod", spec)]
    places += [
        (f"container.seccomp.security.alpha.kubernetes.io/{c.get('name', '')}", c) for c in spec.get("containers") or ()
    ]
    for key, holder in places:
        if key in annotations and not at(holder, "securityContext", "seccompProfile"):
            yield f"{path.key(key)}: {seccomp}"


def _volumes(spec: View, path: Path) -> Iterator[str]:
    for i, volume in enumerate(spec.get("volumes") or ()):
        for source, text in _VOLUMES.items():
            if source in volume:
                yield f"{path.index(i).child(_VOLUME_PATHS.get(source, source))}: {text}"
        if claim := at(volume, "ephemeral", "volumeClaimTemplate", "spec"):
            yield from of_claim(claim, path.index(i).child("ephemeral", "volumeClaimTemplate", "spec"))


def of_claim(spec: View, path: Path) -> Iterator[str]:
    """Fractions of a byte in the spec of a volume claim."""
    for which in ("requests", "limits"):
        amounts = at(spec, "resources", which) or {}
        yield from _fractions(amounts, ("storage",), path.child("resources", which))


def _fractions(amounts: View, keys: Sequence[str], path: Path) -> Iterator[str]:
    from pilothouse.api import quantity

    for key in keys:
        text = amounts.get(key)
        if text is not None and str(text).endswith(("m", "u", "n")) and quantity.to_milli(text) % 1000:
            yield f'{path.key(key)}: fractional byte value "{text}" is invalid, must be an integer'


def _lists(spec: View, path: Path) -> Iterator[str]:
    for name, key, what in (("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")):
        seen: set[str] = set()
        for i, item in enumerate(spec.get(name) or ()):
            value = item.get(key, "")
            if value in seen:
                yield f'{path.child(name).index(i).child(key)}: duplicate {what} "{value}"'
            seen.add(value)
            if not value and name == "imagePullSecrets":
                yield f'{path.child(name).index(i).child(key)}: invalid empty name ""'
    yield from _fractions(spec.get("overhead") or {}, _WHOLE_BYTES, path.child("overhead"))
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        where = path.child("terminationGracePeriodSeconds")
        yield f"{where}: must be >= 0; negative values are invalid and will be treated as 1"


def _containers(spec: View, path: Path) -> Iterator[str]:
    places = [
        (path.child(which).index(i), container)
        for which in ("initContainers", "containers", "ephemeralContainers")
        for i, container in enumerate(spec.get(which) or ())
    ]
    for here, container in places:
        for which in ("limits", "requests"):
            yield from _fractions(at(container, "resources", which) or {}, _WHOLE_BYTES, here.child("resources", which))
        yield from _environment(container, here.child("env"))
    yield from _ports(
        [(here.child("ports").index(i), p) for here, c in places for i, p in enumerate(c.get("ports") or ())]
    )


def _environment(container: View, path: Path) -> Iterator[str]:
    seen: set[str] = set()
    for i, variable in enumerate(container.get("env") or ()):
        name, value = variable.get("name", ""), variable.get("value", "")
        reference = f"$({name})"
        extends = "valueFrom" not in variable and reference in value and value != reference
        if name in seen and not extends:
            yield f'{path.index(i)}: hides previous definition of "{name}", which may be dropped when using apply'
        seen.add(name)


def _ports(ports: Sequence[tuple[Path, View]]) -> Iterator[str]:
    numbers: dict[tuple[int, str], list[tuple[Path, str, int]]] = {}
    for here, port in ports:
        host_ip, host_port = port.get("hostIP", ""), port.get("hostPort", 0)
        others = numbers.setdefault((port.get("containerPort", 0), port.get("protocol", "")), [])
        for other, other_ip, other_port in others:
            if (host_ip, host_port) == (other_ip, other_port):
                yield f"{here}: duplicate port definition with {other}"
            elif not host_port or not other_port:
                yield f"{here}: overlapping port definition with {other}"
            elif host_port == other_port and bool(host_ip) != bool(other_ip):
                yield f"{here}: dangerously ambiguous port definition with {other}"
        others.append((here, host_ip, host_port))
    called: dict[str, Path] = {}
    for here, port in ports:
        name = port.get("name")
        if not name:
            continue
        first = called.setdefault(name, here)
        if first is not here:
            text = f'duplicate port name "{name}" with {first}'
            yield f"{here}: {text}, services and probes that select ports by name will use {first}"
