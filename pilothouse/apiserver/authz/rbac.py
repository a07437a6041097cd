"""Role-based access control from the roles and bindings that are in force.

Bindings are indexed by their subjects. A user's rules are compiled at its first request and kept until a role or binding changes,
so a decision is a few dict lookups. Source: `pkg/registry/rbac/validation/rule.go`, `plugin/pkg/auth/authorizer/rbac`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object, key_of, name_of, namespace_of
from pilothouse.api.status import aggregate
from pilothouse.api.user import User, service_account_name
from pilothouse.apiserver.authz.attributes import NO_OPINION, Attributes, Decision, UserRules, Verdict
from pilothouse.apiserver.authz.rules import Rule, RuleSet
from pilothouse.apiserver.objects import Objects

_MAX_USERS = 4096
_Subject = tuple[str, str]
"""`("User" | "Group", name)`; service accounts are users by their full name."""
_Identity = tuple[str, tuple[str, ...]]


class Rbac:
    """The RBAC mode. Its state follows the objects it subscribes to."""

    def __init__(self, objects: Objects) -> None:
        self._roles: dict[str, Sequence[Rule]] = {}
        self._cluster_roles: dict[str, Sequence[Rule]] = {}
        self._bindings: dict[str, dict[str, Object]] = {}
        self._subjects: dict[str, dict[_Subject, dict[str, None]]] = {}
        self._compiled: dict[_Identity, dict[str, tuple[RuleSet, list[str]]]] = {}
        objects.subscribe(kinds.CLUSTER_ROLES, self._cluster_role_changed)
        objects.subscribe(kinds.ROLES, self._role_changed)
        objects.subscribe(kinds.CLUSTER_ROLE_BINDINGS, self._binding_changed)
        objects.subscribe(kinds.ROLE_BINDINGS, self._binding_changed)

    def authorize(self, attributes: Attributes) -> Decision:
        user = attributes.user
        compiled = self._compiled.get((user.name, user.groups))
        if compiled is None:
            compiled = self._start_user(user)
        rules, errors = compiled.get("") or self._compile(compiled, user, "")
        decision = rules.decide(attributes)
        if decision.verdict is Verdict.ALLOW:
            return decision
        if namespace := attributes.namespace:
            rules, more_errors = compiled.get(namespace) or self._compile(compiled, user, namespace)
            decision = rules.decide(attributes)
            if decision.verdict is Verdict.ALLOW:
                return decision
            errors = errors + more_errors
        return Decision(Verdict.NO_OPINION, _reason(errors)) if errors else NO_OPINION

    def rules_for(self, user: User, namespace: str) -> UserRules:
        rules, errors = self.resolve(user, namespace)
        return UserRules([dict(rule) for rule in rules], True, aggregate(errors))

    def resolve(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """All rules that apply to a user in a namespace (or cluster-wide), and what could not be resolved."""
        compiled = self._compiled.get((user.name, user.groups)) or self._start_user(user)
        rules, errors = compiled.get("") or self._compile(compiled, user, "")
        found, problems = list(rules.rules), list(errors)
        if namespace:
            rules, errors = compiled.get(namespace) or self._compile(compiled, user, namespace)
            found += rules.rules
            problems += errors
        return found, problems

    def role_rules(self, reference: Mapping[str, Any], namespace: str) -> Sequence[Rule] | None:
        """The rules of the role that a binding in `namespace` refers to; None if it does not exist."""
        if reference.get("kind") == "Role":
            return self._roles.get(f"{namespace}/{reference['name']}")
        return self._cluster_roles.get(reference["name"])

    def _start_user(self, user: User) -> dict[str, tuple[RuleSet, list[str]]]:
        if len(self._compiled) >= _MAX_USERS:
            self._compiled.clear()
        return self._compiled.setdefault((user.name, user.groups), {})

    def _compile(
        self, compiled: dict[str, tuple[RuleSet, list[str]]], user: User, namespace: str
    ) -> tuple[RuleSet, list[str]]:
        rules, errors = RuleSet(), []
        subjects = self._subjects.get(namespace, {})
        mine: list[_Subject] = [("User", user.name), *(("Group", group) for group in user.groups)]
        bindings = dict.fromkeys(key for subject in mine for key in subjects.get(subject, ()))
        for key in bindings:
            binding = self._bindings[namespace][key]
            reference = binding["roleRef"]
            granted = self.role_rules(reference, namespace)
            if granted is None:
                plural = "role" if reference.get("kind") == "Role" else "clusterrole"
                errors.append(f'{plural}.rbac.authorization.k8s.io "{reference["name"]}" not found')
            else:
                rules.add(granted, _origin(binding, namespace, mine))
        compiled[namespace] = rules, errors
        return rules, errors

    def _cluster_role_changed(self, old: Object | None, new: Object | None) -> None:
        self._put_rules(self._cluster_roles, old, new)

    def _role_changed(self, old: Object | None, new: Object | None) -> None:
        self._put_rules(self._roles, old, new)

    def _put_rules(self, into: dict[str, Sequence[Rule]], old: Object | None, new: Object | None) -> None:
        if new is not None:
            into[key_of(new)] = new.get("rules") or ()
        elif old is not None:
            into.pop(key_of(old), None)
        self._compiled.clear()

    def _binding_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None:
            namespace, key = namespace_of(old), name_of(old)
            self._bindings.get(namespace, {}).pop(key, None)
            for subject in _subjects(old):
                self._subjects[namespace][subject].pop(key, None)
        if new is not None:
            namespace, key = namespace_of(new), name_of(new)
            self._bindings.setdefault(namespace, {})[key] = new
            index = self._subjects.setdefault(namespace, {})
            for subject in _subjects(new):
                index.setdefault(subject, {})[key] = None
        self._compiled.clear()


RBAC_KINDS: tuple[GVR, ...] = (
    kinds.CLUSTER_ROLES,
    kinds.ROLES,
    kinds.CLUSTER_ROLE_BINDINGS,
    kinds.ROLE_BINDINGS,
)


def _subjects(binding: Mapping[str, Any]) -> Iterable[_Subject]:
    for subject in binding.get("subjects") or ():
        if found := _subject(subject, namespace_of(binding)):
            yield found


def _subject(subject: Mapping[str, Any], binding_namespace: str) -> _Subject | None:
    if subject["kind"] == "ServiceAccount":
        namespace = subject.get("namespace") or binding_namespace
        return ("User", service_account_name(namespace, subject["name"])) if namespace else None
    return (subject["kind"], subject["name"])


def _origin(binding: Mapping[str, Any], namespace: str, mine: Sequence[_Subject]) -> str:
    """How upstream names the source of a permission, with its name/namespace order."""
    subject = next(s for s in binding["subjects"] if _subject(s, namespace) in mine)
    who = subject["name"]
    if subject["kind"] == "ServiceAccount":
        who = f"{who}/{subject.get('namespace') or namespace}"
    kind, name = (
        ("RoleBinding", f"{name_of(binding)}/{namespace}") if namespace else ("ClusterRoleBinding", name_of(binding))
    )
    role = binding["roleRef"]
    return f'{kind} "{name}" of {role["kind"]} "{role["name"]}" to {subject["kind"]} "{who}"'


def _reason(errors: Sequence[str]) -> str:
    return f"RBAC: {aggregate(errors)}"
