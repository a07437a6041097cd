"""MutatingAdmissionPolicy: objects are changed by rules in CEL. Source: KEP-3962, apiserver `plugin/policy/mutating`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import methodcaller
from typing import Any, TypeVar

from pilothouse.api import gvr as kinds
from pilothouse.api import status
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object, name_of
from pilothouse.api.patch import json as json_patch
from pilothouse.api.schema.types import Struct
from pilothouse.api.view import json_copy
from pilothouse.apiserver.admission.expressions import Expressions
from pilothouse.apiserver.admission.matching import is_exempt
from pilothouse.apiserver.admission.measures import NO_ERROR, AdmissionMeasures
from pilothouse.apiserver.admission.plugin import Plugin
from pilothouse.apiserver.admission.policies.source import (
    Binding,
    ConfigurationError,
    FindParams,
    Policies,
    Policy,
    PolicyError,
    namespace_object,
    params_of,
)
from pilothouse.apiserver.admission.redraft import redraft
from pilothouse.apiserver.admission.review import object_at, stored_form
from pilothouse.apiserver.attributes import Attributes, Reinvocation
from pilothouse.apiserver.objects import Objects

T = TypeVar("T")
FindStruct = Callable[[str, str], Struct | None]
"""The type of objects by apiVersion and kind; None for a kind that is not served."""


class MutatingAdmissionPolicy(Plugin):
    name = "MutatingAdmissionPolicy"

    def __init__(
        self,
        objects: Objects,
        expressions: Expressions,
        find_params: FindParams,
        find_struct: FindStruct,
        measures: AdmissionMeasures,
    ) -> None:
        self._measures = measures
        self._objects = objects
        self._expressions = expressions
        self._find_params = find_params
        self._find_struct = find_struct
        self._policies = Policies(objects, kinds.MUTATING_ADMISSION_POLICIES, kinds.MUTATING_ADMISSION_POLICY_BINDINGS)

    async def mutate(self, attributes: Attributes) -> None:
        policies = await self._policies.wanted(attributes.resource)
        if not policies or attributes.obj is None or is_exempt(attributes):
            return
        rounds = attributes.reinvocation = attributes.reinvocation or Reinvocation()
        if rounds.is_second and rounds.last.get(self.name) != attributes.obj:
            rounds.again |= rounds.done
            rounds.done = set()
        refusals: list[str] = []
        for policy in policies:
            gvr = await policy.match.find(attributes, self._objects, lacks_rules=True)
            if gvr is not None:
                await self._apply(policy, gvr, attributes, rounds, refusals)
        rounds.last[self.name] = json_copy(attributes.obj)
        if refusals:
            raise _refused(attributes, refusals)

    async def _apply(
        self, policy: Policy, gvr: GVR, attributes: Attributes, rounds: Reinvocation, refusals: list[str]
    ) -> None:
        for binding in policy.bindings:
            if await binding.match.find(attributes, self._objects, lacks_rules=True) is None:
                continue
            try:
                params = await params_of(policy, binding, attributes.namespace, self._find_params)
            except PolicyError as error:
                if not policy.fails_open:
                    refusals.append(f"policy '{policy.name}' denied request: failed to configure policy: {error}")
                break
            except ConfigurationError as error:
                self._refuse(policy, binding, error, refusals)
                continue
            namespace = await namespace_object(attributes, self._objects)
            for param in params:
                key = f"policy {policy.name}/{binding.name}/{name_of(param) if param else ''}"
                if rounds.is_second and key not in rounds.again:
                    continue
                extra = {"params": param, "namespaceObject": namespace}
                await self._mutate(policy, binding, gvr, attributes, extra, refusals, rounds)
                if policy.spec.get("reinvocationPolicy") == "IfNeeded":
                    rounds.done.add(key)

    async def _mutate(
        self,
        policy: Policy,
        binding: Binding,
        gvr: GVR,
        attributes: Attributes,
        extra: Mapping[str, Any],
        refusals: list[str],
        rounds: Reinvocation,
    ) -> None:
        """All mutations of a policy with one parameter."""
        from pilothouse.apiserver.admission.policies.evaluation import Failure, Scope, conditions_hold

        access = self._expressions.access(attributes.user)

        async def evaluated(evaluate: Callable[[Scope], T]) -> T:
            """What an evaluation gives for the object as it is by now."""
            values = {**await self._expressions.values(attributes, gvr), **extra}
            return await access.settle(lambda: evaluate(Scope(self._expressions, policy.spec, access, values)))

        holds = await evaluated(lambda scope: conditions_hold(scope, policy))
        if holds is not True:
            if holds:
                self._refuse(policy, binding, holds, refusals)
            return
        changed = False
        for mutation in policy.spec.get("mutations") or ():
            began, error = self._measures.now(), NO_ERROR
            try:
                wanted = await evaluated(methodcaller("construct", *_expression(mutation)))
                changed = await self._change(mutation, wanted, gvr, attributes) or changed
            except Failure as failure:
                error = failure.kind
                self._refuse(policy, binding, failure, refusals)
            self._measures.checked("mutating", policy.name, binding.name, error, "", began)
        if changed:
            rounds.changed()

    async def _change(self, mutation: Mapping[str, Any], wanted: Any, gvr: GVR, attributes: Attributes) -> bool:
        """Apply `wanted`, the value of a mutation's expression. Raises Failure."""
        from pilothouse.apiserver.admission.policies.evaluation import Failure

        shown = await object_at(attributes.obj, attributes, gvr)
        assert shown is not None
        if mutation.get("patchType") == "JSONPatch":
            try:
                patched = json_patch.apply(shown, [_operation(each) for each in wanted])
            except status.StatusError as error:
                causes = [cause.message for cause in error.causes]
                if causes and causes[0].startswith("testing value "):
                    return False
                raise Failure(f"JSON Patch: {'; '.join(causes) or error.message}") from None
        else:
            patched = self._merged(shown, wanted, gvr)
        return redraft(attributes, await stored_form(patched, attributes, gvr))

    def _merged(self, shown: Mapping[str, Any], config: Object, gvr: GVR) -> Object:
        """An object with what a configuration says, merged as server-side apply does. Raises Failure."""
        from pilothouse.api.apply.atomics import atomics
        from pilothouse.api.apply.check import joined, problems
        from pilothouse.api.apply.structs import struct_node
        from pilothouse.apiserver.admission.policies.evaluation import Failure

        api_version, kind = shown.get("apiVersion", gvr.api_version), shown.get("kind", gvr.kind)
        struct = self._find_struct(api_version, kind)
        if struct is None:
            raise status.ServiceUnavailable(
                f"Resource kind {api_version}, Kind={kind} not found. There can be a delay between when CustomResourceDefinitions are "
                "created and when they are available."
            )
        if found := problems(struct, config):
            raise Failure(f"error applying patch: failed to convert patch object to typed object: {joined(found)}")
        if replaced := atomics(struct, config):
            raise Failure(
                "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
                f"{', '.join(replaced)}"
            )
        merged: Object = json_copy(struct_node(struct).merge(shown, config))
        return merged

    def _refuse(self, policy: Policy, binding: Binding, why: object, refusals: list[str]) -> None:
        if not policy.fails_open:
            refusals.append(f"policy '{policy.name}' with binding '{binding.name}' denied request: {why}")


def _expression(mutation: Mapping[str, Any]) -> tuple[str, str]:
    """The expression of a mutation, and the type of its value."""
    if mutation.get("patchType") == "JSONPatch":
        return (mutation.get("jsonPatch") or {}).get("expression", ""), "list"
    return (mutation.get("applyConfiguration") or {}).get("expression", ""), "map"


def _operation(patch: Any) -> Object:
    """One operation of a JSON patch, without the fields that it does not set."""
    return {
        key: value for key, value in dict(patch).items() if key in ("op", "path", "value") or (key == "from" and value)
    }


def _refused(attributes: Attributes, refusals: list[str]) -> status.StatusError:
    gvr = attributes.gvr
    return status.StatusError(
        refusals[0],
        code=403,
        reason="Invalid",
        group=gvr.group,
        kind=gvr.plural,
        name=attributes.name,
        causes=[status.Cause("", message) for message in refusals],
    )
