"""The plugin: pods are checked against their namespace's policy, workloads only warned of, changed policies tried on what runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api.meta import Object, annotations_of, controller_of, labels_of, name_of
from pilothouse.api.path import invalid_object
from pilothouse.apiserver.admission.plugin import Plugin, forbidden
from pilothouse.apiserver.admission.pod_security.checks import evaluate
from pilothouse.apiserver.admission.pod_security.policy import (
    AUDIT,
    ENFORCE,
    PREFIX,
    WARN,
    Level,
    Policy,
    Standard,
    policy_of,
)
from pilothouse.apiserver.admission.pod_security.violation import CONTAINER_LISTS
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import Objects
from pilothouse.kit.clock import Clock

MAX_PODS = 3000
MAX_CHECK_S = 1.0
_TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "replicationcontrollers": ("spec", "template"),
    "podtemplates": ("template",),
    "replicasets.apps": ("spec", "template"),
    "deployments.apps": ("spec", "template"),
    "statefulsets.apps": ("spec", "template"),
    "daemonsets.apps": ("spec", "template"),
    "jobs.batch": ("spec", "template"),
    "cronjobs.batch": ("spec", "jobTemplate", "spec", "template"),
}


@dataclass(frozen=True, slots=True)
class Configuration:
    """Upstream's PodSecurityConfiguration: what holds without labels, and who is left alone."""

    defaults: Policy = field(default_factory=Policy)
    exempt_users: frozenset[str] = frozenset()
    exempt_namespaces: frozenset[str] = frozenset()
    exempt_runtime_classes: frozenset[str] = frozenset()


class PodSecurity(Plugin):
    name = "PodSecurity"
    resources = frozenset({"pods", "namespaces", *_TEMPLATES})
    subresources = frozenset({"", "ephemeralcontainers", "resize"})

    def __init__(self, objects: Objects, clock: Clock, configuration: Configuration | None = None) -> None:
        self._objects = objects
        self._clock = clock
        self._configuration = configuration or Configuration()

    async def validate(self, attributes: Attributes) -> None:
        resource = attributes.resource.gvr.group_resource
        if attributes.obj is None:
            return
        if resource == "namespaces":
            if not attributes.subresource:
                await self._namespace(attributes, attributes.obj)
        elif resource == "pods":
            await self._pod(attributes, attributes.obj)
        elif not attributes.subresource:
            await self._workload(attributes, attributes.obj, _TEMPLATES[resource])

    # Namespaces

    async def _namespace(self, attributes: Attributes, namespace: Object) -> None:
        configuration = self._configuration
        policy, errors = policy_of(labels_of(namespace), configuration.defaults)
        name = name_of(namespace)
        if attributes.old is None:
            if errors:
                raise invalid_object("", "Namespace", name, errors)
            self._warn_of_exemption(attributes, namespace, policy)
            return
        old, old_errors = policy_of(labels_of(attributes.old), configuration.defaults)
        if errors and errors != old_errors:
            raise invalid_object("", "Namespace", name, errors)
        enforce, before = policy.enforce, old.enforce
        if enforce == before or enforce.level is Level.PRIVILEGED:
            return
        if enforce.minor == before.minor and enforce.level <= before.level:
            return
        if name in configuration.exempt_namespaces:
            self._warn_of_exemption(attributes, namespace, policy)
        else:
            attributes.warnings += self._try_on(name, enforce, await self._objects.list(kinds.PODS, name))

    def _warn_of_exemption(self, attributes: Attributes, namespace: Object, policy: Policy) -> None:
        name, labels = name_of(namespace), labels_of(namespace)
        if name not in self._configuration.exempt_namespaces:
            return
        if policy.is_privileged or policy.is_like(self._configuration.defaults):
            return
        modes = ((ENFORCE, policy.enforce), (AUDIT, policy.audit), (WARN, policy.warn))
        shown = ", ".join(
            f"{label.removeprefix(PREFIX)}={standard}"
            for label, standard in modes
            if standard.level is not Level.PRIVILEGED and (label in labels or f"{label}-version" in labels)
        )
        attributes.warnings.append(
            f'namespace "{name}" is exempt from Pod Security, and the policy ({shown}) will be ignored'
        )

    def _try_on(self, namespace: str, standard: Standard, pods: Iterable[Object]) -> list[str]:
        """Warnings for the pods there are: one for each way to violate the policy."""
        deadline = self._clock.monotonic() + MAX_CHECK_S
        ordered = self._in_order(pods)
        checked = 0
        found: dict[str, list[str]] = {}
        for pod in ordered[:MAX_PODS]:
            checked += 1
            if violations := evaluate(standard, pod["spec"], annotations_of(pod)):
                found.setdefault(", ".join(each.reason for each in violations), []).append(name_of(pod))
            if self._clock.monotonic() > deadline:
                break
        warnings = []
        if checked < len(ordered):
            warnings.append(
                f"new PodSecurity enforce level only checked against the first {checked} of {len(ordered)} existing pods"
            )
        if found:
            warnings.append(
                f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{standard}"'
            )
        return warnings + sorted(f"{_names(names)}: {reasons}" for reasons, names in found.items())

    def _in_order(self, pods: Iterable[Object]) -> list[Object]:
        """Pods without those of exempt runtime classes, one of each controller first."""
        first: list[Object] = []
        others: list[Object] = []
        controllers: set[str] = set()
        for pod in pods:
            if pod["spec"].get("runtimeClassName") in self._configuration.exempt_runtime_classes:
                continue
            controller = controller_of(pod)
            uid = str(controller["uid"]) if controller is not None else ""
            (others if uid and uid in controllers else first).append(pod)
            controllers.add(uid)
        return first + others

    # Pods and what makes them

    async def _pod(self, attributes: Attributes, pod: Object) -> None:
        if self._is_exempt(attributes):
            return
        policy, _ = await self._policy(attributes.namespace)
        if policy.is_privileged:
            attributes.annotations[f"{PREFIX}enforce-policy"] = str(Standard(Level.PRIVILEGED))
            return
        if attributes.old is not None and not _changes_security(pod["spec"], attributes.old["spec"]):
            return
        self._evaluate(attributes, policy, pod["spec"], annotations_of(pod), is_enforced=True)

    async def _workload(self, attributes: Attributes, workload: Object, path: tuple[str, ...]) -> None:
        if self._is_exempt(attributes):
            return
        policy, is_valid = await self._policy(attributes.namespace)
        if is_valid and policy.warn.level is policy.audit.level is Level.PRIVILEGED:
            return
        template: Any = workload
        for key in path:
            template = (template or {}).get(key)
        if template is not None:
            self._evaluate(
                attributes, policy, template.get("spec") or {}, _template_annotations(template), is_enforced=False
            )

    def _is_exempt(self, attributes: Attributes) -> bool:
        for why, is_exempt in (
            ("namespace", attributes.namespace in self._configuration.exempt_namespaces),
            ("user", attributes.user.name in self._configuration.exempt_users),
        ):
            if is_exempt:
                attributes.annotations[f"{PREFIX}exempt"] = why
                return True
        return False

    async def _policy(self, name: str) -> tuple[Policy, bool]:
        """The policy of a namespace, and whether its labels are right."""
        namespace = await self._objects.get(kinds.NAMESPACES, "", name)
        policy, errors = policy_of(labels_of(namespace or {"metadata": {}}), self._configuration.defaults)
        return policy, not errors

    def _evaluate(
        self,
        attributes: Attributes,
        policy: Policy,
        spec: Mapping[str, Any],
        annotations: Mapping[str, str],
        *,
        is_enforced: bool,
    ) -> None:
        """Raises Forbidden."""
        if spec.get("runtimeClassName") in self._configuration.exempt_runtime_classes:
            attributes.annotations[f"{PREFIX}exempt"] = "runtimeClass"
            return
        found: dict[Standard, str] = {}

        def told(standard: Standard) -> str:
            if standard not in found:
                found[standard] = ", ".join(map(str, evaluate(standard, spec, annotations)))
            return f'violate PodSecurity "{standard}": {found[standard]}' if found[standard] else ""

        if text := told(policy.audit):
            attributes.annotations[f"{PREFIX}audit-violations"] = f"would {text}"
        if is_enforced:
            attributes.annotations[f"{PREFIX}enforce-policy"] = str(policy.enforce)
            if text := told(policy.enforce):
                raise forbidden(attributes, text.replace("violate", "violates", 1))
        if text := told(policy.warn):
            attributes.warnings.append(f"would {text}")


def _template_annotations(template: Mapping[str, Any]) -> Mapping[str, str]:
    return annotations_of(template) if "metadata" in template else {}


def _names(names: list[str]) -> str:
    first, others = min(names), len(names) - 1
    if not others:
        return first
    return f"{first} (and {others} other pod{'s' if others > 1 else ''})"


def _changes_security(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether an update changes anything that a check could see: images and the number of containers."""
    for key in CONTAINER_LISTS[:2]:
        images = [container.get("image") for container in new.get(key) or ()]
        if images != [container.get("image") for container in old.get(key) or ()]:
            return True
    before = {container["name"]: container.get("image") for container in old.get("ephemeralContainers") or ()}
    return any(
        container["name"] not in before or container.get("image") != before[container["name"]]
        for container in new.get("ephemeralContainers") or ()
    )
