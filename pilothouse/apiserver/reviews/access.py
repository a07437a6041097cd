"""The reviews of authorization.k8s.io: what somebody may do. Source: `pkg/registry/authorization`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import status
from pilothouse.api.meta import Object
from pilothouse.api.path import FieldError, Path, invalid, invalid_object
from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import Attributes, Authorizer, Verdict
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.reviews import selectors
from pilothouse.apiserver.reviews.admission import Admit, admit_all

_SPEC = Path("spec")
_RESOURCE_KEYS = ("verbs", "apiGroups", "resources", "resourceNames")
_PATH_KEYS = ("verbs", "nonResourceURLs")


class AccessReviews:
    def __init__(self, authorizer: Authorizer, admit: Admit = admit_all) -> None:
        """`admit` raises for a review that is valid and not admitted."""
        self._authorizer = authorizer
        self._admit = admit

    async def self_subject_access(self, call: Call, obj: Object) -> Object:
        """SelfSubjectAccessReview. Raises Invalid."""
        spec = obj.get("spec") or {}
        _check([*_attribute_faults(spec), *_metadata_faults(obj)])
        await self._admit(call, obj)
        return {**obj, "status": await self._answer(call.user, spec)}

    async def subject_access(self, call: Call, obj: Object) -> Object:
        """SubjectAccessReview. Raises Invalid."""
        spec = obj.get("spec") or {}
        _check([*_attribute_faults(spec, has_subject=True), *_metadata_faults(obj)])
        await self._admit(call, obj)
        return {**obj, "status": await self._answer(_subject(spec), spec)}

    async def local_subject_access(self, call: Call, obj: Object) -> Object:
        """LocalSubjectAccessReview, in the namespace of the request. Raises Invalid, BadRequest."""
        spec = obj.get("spec") or {}
        faults = [*_attribute_faults(spec, has_subject=True), *_metadata_faults(obj, is_local=True)]
        asked = spec.get("resourceAttributes")
        namespace = obj.get("metadata", {}).get("namespace", "")
        if asked is not None and asked.get("namespace", "") != namespace:
            where = _SPEC.child("resourceAttributes", "namespace")
            faults.append(invalid(where, asked.get("namespace", ""), "must match metadata.namespace"))
        if spec.get("nonResourceAttributes") is not None:
            why = "disallowed on this kind of request"
            faults.append(invalid(_SPEC.child("nonResourceAttributes"), _shown(spec["nonResourceAttributes"]), why))
        _check(faults)
        if call.info.namespace != namespace:
            raise status.BadRequest(f"spec.resourceAttributes.namespace must match namespace: {call.info.namespace}")
        await self._admit(call, obj)
        return {**obj, "status": await self._answer(_subject(spec), spec)}

    async def self_subject_rules(self, call: Call, obj: Object) -> Object:
        """SelfSubjectRulesReview: `kubectl auth can-i --list`. Raises BadRequest without a namespace."""
        namespace = (obj.get("spec") or {}).get("namespace", "")
        if not namespace:
            raise status.BadRequest("no namespace on request")
        await self._admit(call, obj)
        rules = self._authorizer.rules_for(call.user, namespace)
        answer: Object = {"resourceRules": [], "nonResourceRules": [], "incomplete": not rules.is_complete}
        for rule in rules.rules:
            if rule.get("resources"):
                answer["resourceRules"].append({key: list(rule[key]) for key in _RESOURCE_KEYS if rule.get(key)})
            if rule.get("nonResourceURLs"):
                answer["nonResourceRules"].append({key: list(rule[key]) for key in _PATH_KEYS if rule.get(key)})
        if rules.error:
            answer["evaluationError"] = rules.error
        head = {key: obj[key] for key in ("kind", "apiVersion")}
        return {**head, "metadata": {}, "spec": {}, "status": answer}

    async def _answer(self, user: User, spec: Mapping[str, Any]) -> Object:
        asked = spec.get("resourceAttributes") or {}
        fields, labels = selectors.fields(asked.get("fieldSelector")), selectors.labels(asked.get("labelSelector"))
        decision = await self._authorizer.authorize(_attributes(user, spec, fields.text, labels.text))
        answer: Object = {"allowed": decision.is_allowed}
        if decision.verdict is Verdict.DENY:
            answer["denied"] = True
        if decision.reason:
            answer["reason"] = decision.reason
        errors = (
            decision.error,
            selectors.error_of("fieldSelector", fields),
            selectors.error_of("labelSelector", labels),
        )
        if any(errors):
            answer["evaluationError"] = "; ".join(filter(None, errors))
        return answer


def _check(faults: Sequence[FieldError]) -> None:
    """Raises Invalid, which like upstream's names no kind."""
    if faults:
        raise invalid_object("authorization.k8s.io", "", "", faults)


def _shown(attributes: Mapping[str, Any]) -> Object:
    """NonResourceAttributes as upstream's messages show them."""
    return {"Path": attributes.get("path", ""), "Verb": attributes.get("verb", "")}


def _subject(spec: Mapping[str, Any]) -> User:
    extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
    return User(spec.get("user", ""), spec.get("uid", ""), tuple(spec.get("groups") or ()), extra)


def _attributes(user: User, spec: Mapping[str, Any], fields: str, labels: str) -> Attributes:
    if (asked := spec.get("nonResourceAttributes")) is not None:
        return Attributes(user, asked.get("verb", ""), path=asked.get("path", ""))
    asked = spec["resourceAttributes"]
    return Attributes(
        user,
        asked.get("verb", ""),
        asked.get("group", ""),
        asked.get("version") or "*",
        asked.get("resource", ""),
        asked.get("subresource", ""),
        asked.get("namespace", ""),
        asked.get("name", ""),
        "",
        fields,
        labels,
    )


def _attribute_faults(spec: Mapping[str, Any], *, has_subject: bool = False) -> list[FieldError]:
    resource, non_resource = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    faults = []
    if resource is not None and non_resource is not None:
        why = "cannot be specified in combination with resourceAttributes"
        faults.append(invalid(_SPEC.child("nonResourceAttributes"), _shown(non_resource), why))
    if resource is None and non_resource is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        faults.append(invalid(_SPEC.child("resourceAttributes"), None, why))
    if has_subject and not spec.get("user") and not spec.get("groups"):
        why = "at least one of user or group must be specified"
        faults.append(invalid(_SPEC.child("user"), spec.get("user", ""), why))
    if resource is not None:
        faults += selectors.faults(resource, _SPEC.child("resourceAttributes"))
    return faults


def _metadata_faults(obj: Mapping[str, Any], *, is_local: bool = False) -> list[FieldError]:
    metadata = obj.get("metadata") or {}
    ignored = {"managedFields", "namespace"} if is_local else {"managedFields"}
    if not any(value for key, value in metadata.items() if key not in ignored):
        return []
    return [invalid(Path("metadata"), metadata, f"must be empty{' except for namespace' if is_local else ''}")]
