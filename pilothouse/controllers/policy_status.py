"""Checks the expressions of ValidatingAdmissionPolicies against the types that they will see, and tells what cannot be right.

The expressions hold all the same: warnings are advice. Source: upstream `pkg/controller/validatingadmissionpolicystatus`, apiserver
`plugin/policy/validating/typechecking.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api import meta
from pilothouse.api.gvr import CUSTOM_RESOURCE_DEFINITIONS, GVR, VALIDATING_ADMISSION_POLICIES
from pilothouse.api.kinds.table import by_path
from pilothouse.api.meta import Object
from pilothouse.api.schema.types import Struct, catalog
from pilothouse.client.client import Client
from pilothouse.controllers.runtime import Context, Controller

MAX_TYPES = 10


def warnings_of(policy: Object, types: Sequence[tuple[GVR, Struct]]) -> list[Object]:
    """The ExpressionWarnings of a policy whose rules name `types`."""
    from pilothouse.api.cel.admission import POLICY_VARIABLES
    from pilothouse.api.cel.environment import CompileError
    from pilothouse.api.cel.typed import typed_environment

    plain = {name: type_ for name, type_ in POLICY_VARIABLES.items() if name not in ("object", "oldObject")}
    environments = [(gvr, typed_environment(plain, {"object": struct, "oldObject": struct})) for gvr, struct in types]
    warnings: list[Object] = []
    for place, expression in _expressions(policy):
        told = []
        for gvr, environment in environments:
            try:
                environment.compile(expression)
            except CompileError as error:
                told.append(f"{gvr.api_version}, Kind={gvr.kind}: {error}\n")
        if told:
            warnings.append({"fieldRef": place, "warning": "\n".join(told)})
    return warnings


def _expressions(policy: Object) -> Iterable[tuple[str, str]]:
    for index, validation in enumerate((policy.get("spec") or {}).get("validations") or ()):
        for field in ("expression", "messageExpression"):
            if text := validation.get(field):
                yield f"spec.validations[{index}].{field}", text


def named_resources(policy: Object) -> list[tuple[str, str, str]]:
    """Group, version and plural of what a policy's rules name without a wildcard or a subresource."""
    found: dict[tuple[str, str, str], None] = {}
    constraints = (policy.get("spec") or {}).get("matchConstraints") or {}
    for rule in constraints.get("resourceRules") or ():
        named: Mapping[str, Any] = rule
        for group in named.get("apiGroups") or ():
            for version in named.get("apiVersions") or ():
                for plural in named.get("resources") or ():
                    if "*" not in (group, version, plural) and "/" not in plural:
                        found[group, version, plural] = None
    return list(found)[:MAX_TYPES]


class PolicyStatusController(Controller):
    """The control loop. A key is a policy's name."""

    name = "validatingadmissionpolicy-status-controller"
    account = "validatingadmissionpolicy-status-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._reader: Client = context.client
        self._policies = context.informers.of(VALIDATING_ADMISSION_POLICIES)
        self.follow(self._policies, self.enqueue)

    async def reconcile(self, key: str) -> float | None:
        policy = self._policies.get(key)
        if policy is None:
            return None
        generation = policy["metadata"].get("generation", 0)
        if generation <= (policy.get("status") or {}).get("observedGeneration", 0):
            return None
        types = [(gvr, struct) for named in named_resources(policy) async for gvr, struct in self._types(*named)]
        warnings = warnings_of(policy, types)
        checking = {"expressionWarnings": warnings} if warnings else {}
        status = {**(policy.get("status") or {}), "observedGeneration": generation, "typeChecking": checking}
        await self.client.update_status(VALIDATING_ADMISSION_POLICIES, {**policy, "status": status})
        return None

    async def _types(self, group: str, version: str, plural: str) -> Any:
        """The one type that a resource has, if it is known."""
        resource = by_path(group, version, plural)
        if resource is not None:
            gvr = next(each for each in (resource.gvr, *resource.other_versions) if each.version == version)
            name = catalog().name_of(gvr.api_version, gvr.kind)
            if name is not None:
                yield gvr, catalog().struct(name)
            return
        for definition in (await self._reader.list(CUSTOM_RESOURCE_DEFINITIONS)).items:
            if meta.name_of(definition) == f"{plural}.{group}":
                found = custom_type(definition, version)
                if found is not None:
                    yield found


def custom_type(definition: Object, version: str) -> tuple[GVR, Struct] | None:
    """The type of a custom kind at one of its versions."""
    from pilothouse.api.structural.custom import CustomSchema

    spec = definition["spec"]
    schemas = {each["name"]: (each.get("schema") or {}).get("openAPIV3Schema") for each in spec["versions"]}
    schema = schemas.get(version)
    if not schema:
        return None
    names = spec["names"]
    gvr = GVR(spec["group"], version, names["plural"], names["kind"], spec["scope"] == "Namespaced")
    return gvr, CustomSchema(gvr, lambda: schema).struct
