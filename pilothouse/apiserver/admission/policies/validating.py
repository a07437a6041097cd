"""The plugin that holds writes against ValidatingAdmissionPolicies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from pilothouse.api import gvr as kinds
from pilothouse.api import status
from pilothouse.api.gvr import GVR
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
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import Objects

MAX_ANNOTATION = 10 * 1024
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}


class _Refusal(NamedTuple):
    policy: str
    binding: str
    message: str
    reason: str = ""


class ValidatingAdmissionPolicy(Plugin):
    name = "ValidatingAdmissionPolicy"
    operations = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT"})

    def __init__(
        self, objects: Objects, expressions: Expressions, find_params: FindParams, measures: AdmissionMeasures
    ) -> None:
        self._measures = measures
        self._objects = objects
        self._expressions = expressions
        self._find_params = find_params
        self._policies = Policies(
            objects, kinds.VALIDATING_ADMISSION_POLICIES, kinds.VALIDATING_ADMISSION_POLICY_BINDINGS
        )

    async def validate(self, attributes: Attributes) -> None:
        policies = await self._policies.wanted(attributes.resource)
        if not policies or is_exempt(attributes):
            return
        refusals: list[_Refusal] = []
        for policy in policies:
            gvr = await policy.match.find(attributes, self._objects, lacks_rules=True)
            if gvr is not None:
                await self._hold(policy, gvr, attributes, refusals)
        if refusals:
            raise _refused(attributes, refusals[0])

    async def _hold(self, policy: Policy, gvr: GVR, attributes: Attributes, refusals: list[_Refusal]) -> None:
        """Try all bindings of a policy."""
        published: dict[str, list[str]] = {}
        for binding in policy.bindings:
            if await binding.match.find(attributes, self._objects, lacks_rules=True) is None:
                continue
            try:
                params = await params_of(policy, binding, attributes.namespace, self._find_params)
            except PolicyError as error:
                if not policy.fails_open:
                    refusals.append(_Refusal(policy.name, "", f"failed to configure policy: {error}"))
                break
            except ConfigurationError as error:
                if not policy.fails_open:
                    refusals.append(_Refusal(policy.name, binding.name, f"failed to configure binding: {error}"))
                continue
            namespace = await namespace_object(attributes, self._objects)
            for param in params:
                values = {
                    **await self._expressions.values(attributes, gvr),
                    "params": param,
                    "namespaceObject": namespace,
                }
                await self._try(policy, binding, attributes, values, refusals, published)
        for key, texts in published.items():
            attributes.annotations[f"{policy.name}/{key}"] = ", ".join(texts)

    async def _try(
        self,
        policy: Policy,
        binding: Binding,
        attributes: Attributes,
        values: Mapping[str, Any],
        refusals: list[_Refusal],
        published: dict[str, list[str]],
    ) -> None:
        """Try one parameter of a binding."""
        from pilothouse.apiserver.admission.policies.evaluation import Denial, Outcome, Scope, conditions_hold, judge

        access = self._expressions.access(attributes.user)
        began = self._measures.now()

        def decide() -> Outcome:
            scope = Scope(self._expressions, policy.spec, access, values)
            holds = conditions_hold(scope, policy)
            if holds is False:
                return Outcome()
            return judge(scope, policy) if holds is True else Outcome([Denial(holds)])

        outcome = await access.settle(decide)
        for _ in range(outcome.admitted):
            self._measures.checked("validating", policy.name, binding.name, NO_ERROR, "allow", began)
        for denial in outcome.denials:
            for action in binding.actions:
                self._measures.checked(
                    "validating", policy.name, binding.name, denial.error or NO_ERROR, action.lower(), began
                )
            if "Deny" in binding.actions:
                refusals.append(_Refusal(policy.name, binding.name, denial.message, denial.reason))
            if "Warn" in binding.actions:
                attributes.warnings.append(
                    f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}': {denial.message}"
                )
            if "Audit" in binding.actions:
                failure = {
                    "message": denial.message,
                    "policy": policy.name,
                    "binding": binding.name,
                    "expressionIndex": max(denial.index, 0),
                    "validationActions": list(binding.actions),
                }
                key = "validation.policy.admission.k8s.io/validation_failure"
                attributes.annotations[key] = orjson.dumps([failure]).decode()
        refusals += (_Refusal(policy.name, binding.name, error) for error in outcome.errors)
        for key, value in outcome.annotations:
            texts = published.setdefault(key, [])
            if value[:MAX_ANNOTATION] not in texts:
                texts.append(value[:MAX_ANNOTATION])


def _refused(attributes: Attributes, refusal: _Refusal) -> status.StatusError:
    """`… is forbidden: ValidatingAdmissionPolicy 'x' with binding 'y' denied request: …`, with the reason that the rule gives."""
    gvr = attributes.gvr
    binding = f" with binding '{refusal.binding}'" if refusal.binding else ""
    message = f"ValidatingAdmissionPolicy '{refusal.policy}'{binding} denied request: {refusal.message}"
    forbidden = status.forbidden(gvr.plural, gvr.group, attributes.name, message)
    reason = refusal.reason or "Invalid"
    return status.StatusError(
        forbidden.message,
        code=_CODES.get(reason, 422),
        reason=reason,
        group=gvr.group,
        kind=gvr.plural,
        name=attributes.name,
        causes=[status.Cause("", message)],
    )
