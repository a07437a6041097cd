"""The policies that are bound, by what they want to see, and the parameters of their bindings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object, labels_of, name_of, namespace_of
from pilothouse.api.resource import Resource
from pilothouse.api.selector import from_object
from pilothouse.apiserver.admission.matching import Match, existing_namespace, is_namespace
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import Objects

_EXCLUDED = frozenset(
    {
        ("authentication.k8s.io", "selfsubjectreviews"),
        ("authentication.k8s.io", "tokenreviews"),
        ("authorization.k8s.io", "localsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
        ("authorization.k8s.io", "subjectaccessreviews"),
    }
)
"""Kinds that no policy sees: one that refused them could break the cluster. Source: `pkg/kubeapiserver/admission/exclusion`."""


class PolicyError(Exception):
    """A policy cannot be used as it is, whatever its bindings."""


class ConfigurationError(Exception):
    """A policy or a binding cannot be used as it is; its failure policy decides what that means."""


class ParamStore(Protocol):
    """The objects of one kind that may be parameters."""

    is_namespaced: bool

    async def get(self, namespace: str, name: str) -> Object | None: ...

    async def list(self, namespace: str) -> Iterable[Object]: ...


FindParams = Callable[[str, str], Awaitable[ParamStore | None]]
"""By apiVersion and kind; None for a kind that is not served."""


@dataclass(frozen=True, slots=True)
class Binding:
    name: str
    match: Match
    param_ref: Mapping[str, Any] | None
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy with its bindings. `spec` is that of the object."""

    name: str
    spec: Mapping[str, Any]
    match: Match
    conditions: tuple[tuple[str, str], ...]
    fails_open: bool
    bindings: tuple[Binding, ...]


class Policies:
    """The policies of a kind, in the order of their names; what a resource concerns is kept until one of them changes."""

    def __init__(self, objects: Objects, policies: GVR, bindings: GVR) -> None:
        self._objects = objects
        self._kinds = policies, bindings
        self._is_open = False
        self._policies: dict[str, Object] = {}
        self._bindings: dict[str, Object] = {}
        self._bound: tuple[Policy, ...] | None = None
        self._wanted: dict[GVR, tuple[Policy, ...]] = {}

    async def wanted(self, resource: Resource) -> tuple[Policy, ...]:
        """The bound policies of which a rule could match a write of `resource`."""
        if not self._is_open:
            await self._open()
        found = self._wanted.get(resource.gvr)
        if found is None:
            if self._bound is None:
                self._bound = tuple(bound(self._policies.values(), self._bindings.values()))
            is_excluded = (resource.gvr.group, resource.gvr.plural) in _EXCLUDED
            found = () if is_excluded else tuple(each for each in self._bound if each.match.may_match(resource))
            self._wanted[resource.gvr] = found
        return found

    async def _open(self) -> None:
        for kind in self._kinds:
            await self._objects.list(kind)
        if not self._is_open:
            self._is_open = True
            for kind, known in zip(self._kinds, (self._policies, self._bindings), strict=True):
                self._objects.subscribe(kind, self._follow(known))

    def _follow(self, known: dict[str, Object]) -> Callable[[Object | None, Object | None], None]:
        def changed(old: Object | None, new: Object | None) -> None:
            if old is not None and new is not None and old.get("spec") == new.get("spec"):
                return
            self._wanted.clear()
            self._bound = None
            if new is not None:
                known[name_of(new)] = new
            elif old is not None:
                known.pop(name_of(old), None)

        return changed


def bound(policies: Iterable[Object], bindings: Iterable[Object]) -> list[Policy]:
    """Policies that have bindings."""
    by_policy: dict[str, list[Binding]] = {}
    for binding in sorted(bindings, key=name_of):
        spec = binding.get("spec") or {}
        match = Match.of(spec.get("matchResources") or {}, "resourceRules")
        made = Binding(name_of(binding), match, spec.get("paramRef"), tuple(spec.get("validationActions") or ()))
        by_policy.setdefault(spec.get("policyName", ""), []).append(made)
    return [
        _policy(policy, by_policy[name_of(policy)])
        for policy in sorted(policies, key=name_of)
        if name_of(policy) in by_policy
    ]


def _policy(policy: Object, bindings: Sequence[Binding]) -> Policy:
    spec = policy.get("spec") or {}
    return Policy(
        name_of(policy),
        spec,
        Match.of(spec.get("matchConstraints") or {}, "resourceRules"),
        tuple((each["name"], each["expression"]) for each in spec.get("matchConditions") or ()),
        spec.get("failurePolicy", "Fail") == "Ignore",
        tuple(bindings),
    )


async def params_of(policy: Policy, binding: Binding, namespace: str, find: FindParams) -> Sequence[Object | None]:
    """The parameters with which a binding's rules are to be tried, one after the other. Raises PolicyError, ConfigurationError."""
    kind, reference = policy.spec.get("paramKind"), binding.param_ref
    if kind is None:
        return [None]
    store = await find(kind.get("apiVersion", ""), kind.get("kind", ""))
    if store is None:
        shown = f"{kind.get('apiVersion')}, Kind={kind.get('kind')}"
        raise PolicyError(f"failed to find resource referenced by paramKind: '{shown}'")
    if reference is None:
        return [None]
    where = ""
    if store.is_namespaced:
        where = reference.get("namespace") or namespace
        if not where:
            raise ConfigurationError(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            )
    elif reference.get("namespace"):
        raise ConfigurationError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    found: list[Object]
    if name := reference.get("name"):
        if reference.get("selector") is not None:
            raise ConfigurationError("paramRef.name and paramRef.selector are mutually exclusive")
        one = await store.get(where, name)
        found = [one] if one is not None else []
    elif reference.get("selector") is not None:
        selector = from_object(reference["selector"])
        found = [obj for obj in await store.list(where) if selector.matches(labels_of(obj))]
        found.sort(key=lambda obj: (namespace_of(obj), name_of(obj)))
    else:
        raise ConfigurationError("one of name or selector must be provided")
    if not found and reference.get("parameterNotFoundAction") == "Deny":
        raise ConfigurationError("no params found for policy binding with `Deny` parameterNotFoundAction")
    return found


async def namespace_object(attributes: Attributes, objects: Objects) -> Object | None:
    """What `namespaceObject` stands for: None in writes of namespaces and outside of any. Raises NotFound."""
    if not attributes.namespace or is_namespace(attributes.resource.gvr):
        return None
    return await existing_namespace(objects, attributes.namespace)
