"""Which writes a webhook or a policy wants to see: rules, equivalent versions, and selectors.

Source: apiserver `pkg/admission/plugin/webhook/predicates`, `plugin/policy/matching`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api import status
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object, labels_of
from pilothouse.api.resource import Resource
from pilothouse.api.selector import LabelSelector, from_object
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import Objects

GROUP = "admissionregistration.k8s.io"
EXEMPT = frozenset(
    {
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    }
)
"""Kinds that no webhook or policy sees, so that one that locks everybody out can be removed."""


@dataclass(frozen=True, slots=True)
class Rule:
    """RuleWithOperations, and the names of NamedRuleWithOperations."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    """Plural and subresource."""
    scope: str = "*"
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rule: Mapping[str, Any]) -> Rule:
        parts = [resource.partition("/") for resource in rule.get("resources") or ()]
        return cls(
            frozenset(rule.get("operations") or ()),
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("apiVersions") or ()),
            tuple((plural, subresource) for plural, _, subresource in parts),
            rule.get("scope") or "*",
            frozenset(rule.get("resourceNames") or ()),
        )

    def may_match(self, group: str, plural: str) -> bool:
        """Whether any write of a resource could match: what an index asks."""
        return _has(self.groups, group) and any(each in ("*", plural) for each, _ in self.resources)

    def matches(self, gvr: GVR, attributes: Attributes) -> bool:
        if not (
            _has(self.operations, attributes.operation)
            and _has(self.groups, gvr.group)
            and _has(self.versions, gvr.version)
        ):
            return False
        if not any(
            plural in ("*", gvr.plural) and subresource in ("*", attributes.subresource)
            for plural, subresource in self.resources
        ):
            return False
        if self.names and attributes.name not in self.names:
            return False
        if self.scope == "*":
            return True
        is_namespaced = bool(attributes.namespace) and not is_namespace(gvr)
        return is_namespaced is (self.scope == "Namespaced")


def _has(wanted: frozenset[str], value: str) -> bool:
    return "*" in wanted or value in wanted


def is_namespace(gvr: GVR) -> bool:
    return gvr.plural == "namespaces" and not gvr.group


@dataclass(frozen=True, slots=True)
class Match:
    """What is wanted: of a webhook, or the `matchConstraints` of a policy."""

    rules: tuple[Rule, ...]
    excluded: tuple[Rule, ...]
    namespaces: LabelSelector
    objects: LabelSelector
    is_equivalent: bool

    @classmethod
    def of(cls, spec: Mapping[str, Any], rules_key: str = "rules") -> Match:
        return cls(
            tuple(Rule.of(rule) for rule in spec.get(rules_key) or ()),
            tuple(Rule.of(rule) for rule in spec.get("excludeResourceRules") or ()),
            from_object(spec.get("namespaceSelector") or {}),
            from_object(spec.get("objectSelector") or {}),
            spec.get("matchPolicy", "Equivalent") == "Equivalent",
        )

    def may_match(self, resource: Resource) -> bool:
        gvrs = versions_of(resource) if self.is_equivalent else (resource.gvr,)
        return any(rule.may_match(gvr.group, gvr.plural) for rule in self.rules for gvr in gvrs)

    def version_of(self, attributes: Attributes) -> GVR | None:
        """The version of the kind by which a rule matches a write; None if none does."""
        if any(rule.matches(attributes.gvr, attributes) for rule in self.rules):
            return attributes.gvr
        if not self.is_equivalent:
            return None
        for rule in self.rules:
            for gvr in _equivalents(attributes):
                if rule.matches(gvr, attributes):
                    return gvr
        return None

    async def find(self, attributes: Attributes, objects: Objects, *, lacks_rules: bool = False) -> GVR | None:
        """The version in which a write is wanted; None if it is not. Raises NotFound for a missing namespace.

        With `lacks_rules` no rules means all.
        """
        if not self.objects.is_everything and not self._selects_object(attributes):
            return None
        if any(rule.matches(attributes.gvr, attributes) for rule in self.excluded):
            return None
        version = attributes.gvr if lacks_rules and not self.rules else self.version_of(attributes)
        if version is None or self.namespaces.is_everything:
            return version
        return version if await self._selects_namespace(attributes, objects) else None

    def _selects_object(self, attributes: Attributes) -> bool:
        for obj in (attributes.obj, attributes.old):
            if obj and isinstance(obj.get("metadata"), Mapping) and self.objects.matches(labels_of(obj)):
                return True
        return False

    async def _selects_namespace(self, attributes: Attributes, objects: Objects) -> bool:
        of_namespace = is_namespace(attributes.resource.gvr)
        if of_namespace and not attributes.subresource and attributes.obj is not None:
            return self.namespaces.matches(labels_of(attributes.obj))
        name = attributes.name if of_namespace else attributes.namespace
        if not name:
            return True
        return self.namespaces.matches(labels_of(await existing_namespace(objects, name)))


async def existing_namespace(objects: Objects, name: str) -> Object:
    """Raises NotFound."""
    namespace = await objects.get(kinds.NAMESPACES, "", name)
    if namespace is None:
        raise status.not_found("namespaces", "", name)
    return namespace


def versions_of(resource: Resource) -> Sequence[GVR]:
    """All identities of the objects of a kind."""
    return (resource.gvr, *resource.other_versions)


def _equivalents(attributes: Attributes) -> Sequence[GVR]:
    """Other versions in which a rule may want to see a write."""
    resource, spoken = attributes.resource, attributes.gvr
    if resource.read is not None:
        return [spoken._replace(version=each) for each in resource.served_versions if each != spoken.version]
    return [gvr for gvr in versions_of(resource) if gvr != spoken]


def is_exempt(attributes: Attributes) -> bool:
    gvr = attributes.resource.gvr
    return gvr.group == GROUP and gvr.plural in EXEMPT
