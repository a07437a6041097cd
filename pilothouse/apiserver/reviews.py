"""Objects that are questions: they are answered and not kept.

TokenReview, the access reviews and SelfSubjectReview, and TokenRequest of a service account. Each function takes the decoded object
and gives it back with its status. Source: `pkg/registry/{authentication,authorization}`, `pkg/registry/core/serviceaccount/storage`.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api import status
from pilothouse.api.meta import Object, format_time, name_of, uid_of
from pilothouse.api.path import FieldError, Path, field_forbidden, invalid, invalid_object
from pilothouse.api.user import User
from pilothouse.apiserver.authn.bearer import BearerTokens
from pilothouse.apiserver.authn.issuer import TokenIssuer, bound_claims
from pilothouse.apiserver.authz.attributes import Attributes, Authorizer, Verdict
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.objects import Objects
from pilothouse.kit.clock import Clock

MIN_TOKEN_S = 600
MAX_TOKEN_S = 1 << 32
DEFAULT_TOKEN_S = 3600
WARN_ONLY_TOKEN_S = 3607
"""The lifetime that the ServiceAccount admission plugin asks for: such a token lives a year, and says when it should be renewed."""
EXTENDED_TOKEN_S = 365 * 24 * 3600


def self_subject_review(user: User, obj: Object, now: float) -> Object:
    """`kubectl auth whoami`."""
    return {**obj, "metadata": {"creationTimestamp": format_time(now)}, "status": {"userInfo": user.to_object()}}


class AccessReviews:
    """The four reviews of authorization.k8s.io."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def self_subject_access(self, call: Call, obj: Object) -> Object:
        """SelfSubjectAccessReview. Raises Invalid."""
        spec = obj.get("spec") or {}
        self._check(obj, "SelfSubjectAccessReview", _attribute_faults(spec))
        return {**obj, "status": self._answer(call.user, spec)}

    async def subject_access(self, call: Call, obj: Object) -> Object:
        """SubjectAccessReview. Raises Invalid."""
        spec = obj.get("spec") or {}
        self._check(obj, "SubjectAccessReview", [*_attribute_faults(spec), *_subject_faults(spec)])
        return {**obj, "status": self._answer(_subject(spec), spec)}

    async def local_subject_access(self, call: Call, obj: Object) -> Object:
        """LocalSubjectAccessReview, in the namespace of the request. Raises Invalid, BadRequest."""
        spec = obj.get("spec") or {}
        faults = [*_attribute_faults(spec), *_subject_faults(spec)]
        path = Path("spec")
        asked = spec.get("resourceAttributes") or {}
        if obj.get("metadata", {}).get("namespace", "") != asked.get("namespace", ""):
            where = path.child("resourceAttributes", "namespace")
            faults.append(invalid(where, asked.get("namespace", ""), "must match metadata.namespace"))
        if spec.get("nonResourceAttributes") is not None:
            faults.append(field_forbidden(path.child("nonResourceAttributes"), "disallowed on this kind of request"))
        self._check(obj, "LocalSubjectAccessReview", faults)
        if call.info.namespace and call.info.namespace != asked.get("namespace", ""):
            raise status.BadRequest(f"spec.resourceAttributes.namespace must match namespace: {call.info.namespace}")
        return {**obj, "status": self._answer(_subject(spec), spec)}

    async def self_subject_rules(self, call: Call, obj: Object) -> Object:
        """SelfSubjectRulesReview: `kubectl auth can-i --list`. Raises BadRequest without a namespace."""
        namespace = (obj.get("spec") or {}).get("namespace", "")
        if not namespace:
            raise status.BadRequest("no namespace on request")
        rules = self._authorizer.rules_for(call.user, namespace)
        answer: Object = {"resourceRules": [], "nonResourceRules": [], "incomplete": not rules.is_complete}
        for rule in rules.rules:
            keys = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
            shown = {key: list(rule[key]) for key in keys if rule.get(key)}
            answer["nonResourceRules" if rule.get("nonResourceURLs") else "resourceRules"].append(shown)
        if rules.error:
            answer["evaluationError"] = rules.error
        return {**obj, "status": answer}

    def _answer(self, user: User, spec: Mapping[str, Any]) -> Object:
        decision = self._authorizer.authorize(_attributes(user, spec))
        answer: Object = {"allowed": decision.is_allowed}
        if decision.verdict is Verdict.DENY:
            answer["denied"] = True
        if decision.reason:
            answer["reason"] = decision.reason
        return answer

    @staticmethod
    def _check(obj: Mapping[str, Any], kind: str, faults: Sequence[FieldError]) -> None:
        if faults:
            raise invalid_object("authorization.k8s.io", kind, obj.get("metadata", {}).get("name", ""), faults)


def _subject(spec: Mapping[str, Any]) -> User:
    extra = {key.lower(): tuple(values) for key, values in (spec.get("extra") or {}).items()}
    return User(spec.get("user", ""), spec.get("uid", ""), tuple(spec.get("groups") or ()), extra)


def _attributes(user: User, spec: Mapping[str, Any]) -> Attributes:
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
        _field_selector(asked.get("fieldSelector") or {}),
    )


def _field_selector(selector: Mapping[str, Any]) -> str:
    """A FieldSelectorAttributes as the text of a selector; requirements that text cannot say are left out, which allows less."""
    if raw := selector.get("rawSelector"):
        return str(raw)
    terms = []
    for requirement in selector.get("requirements") or ():
        values: Sequence[str] = requirement.get("values") or ()
        operator = {"In": "=", "NotIn": "!="}.get(requirement.get("operator", ""))
        if operator and len(values) == 1:
            terms.append(f"{requirement['key']}{operator}{values[0]}")
    return ",".join(terms)


def _attribute_faults(spec: Mapping[str, Any]) -> list[FieldError]:
    resource, non_resource = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    path = Path("spec")
    if resource is not None and non_resource is not None:
        why = "cannot be specified in combination with resourceAttributes"
        return [invalid(path.child("nonResourceAttributes"), non_resource, why)]
    if resource is None and non_resource is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid(path.child("resourceAttributes"), None, why)]
    selector = (resource or {}).get("fieldSelector") or {}
    if selector.get("rawSelector") and selector.get("requirements"):
        where = path.child("resourceAttributes", "fieldSelector", "rawSelector")
        return [invalid(where, selector["rawSelector"], "may not specified at the same time as requirements")]
    return []


def _subject_faults(spec: Mapping[str, Any]) -> list[FieldError]:
    if spec.get("user") or spec.get("groups"):
        return []
    why = "at least one of user or group must be specified"
    return [invalid(Path("spec").child("user"), spec.get("user", ""), why)]


class TokenReviews:
    """TokenReview of authentication.k8s.io."""

    def __init__(self, tokens: BearerTokens) -> None:
        self._tokens = tokens

    async def review(self, call: Call, obj: Object) -> Object:
        """Raises BadRequest without a token."""
        spec = obj.get("spec") or {}
        if obj.get("metadata", {}).get("namespace"):
            raise status.BadRequest("namespace is not allowed on this type: " + obj["metadata"]["namespace"])
        if not spec.get("token"):
            raise status.BadRequest("token is required for TokenReview in authentication")
        audiences = tuple(spec.get("audiences") or self._tokens.audiences)
        try:
            verified = await self._tokens.verify(spec["token"], audiences)
        except status.Unauthorized as error:
            return {**obj, "status": {"user": {}, "error": error.message}}
        answer: Object = {"authenticated": True, "user": verified.user.to_object()}
        if verified.audiences:
            answer["audiences"] = list(verified.audiences)
        return {**obj, "status": answer}


class TokenRequests:
    """The token subresource of service accounts."""

    def __init__(
        self,
        issuer: TokenIssuer,
        objects: Objects,
        clock: Clock,
        rng: random.Random,
        *,
        audiences: tuple[str, ...],
        max_lifetime_s: int = 0,
        extend_lifetime: bool = True,
        admit: Callable[[Call, Object], Awaitable[None]] | None = None,
    ) -> None:
        """`audiences` are those of the API server. `max_lifetime_s` 0 is no limit. `admit` raises for a request not admitted."""
        self._admit = admit
        self._issuer = issuer
        self._objects = objects
        self._clock = clock
        self._rng = rng
        self._audiences = audiences
        self._max_lifetime_s = max_lifetime_s
        self._extend_lifetime = extend_lifetime

    async def create(self, call: Call, obj: Object) -> Object:
        """Issue a token. Raises NotFound, Invalid, Conflict, BadRequest."""
        namespace, name = call.info.namespace, call.info.name
        metadata = dict(obj.get("metadata") or {})
        account = await self._account(namespace, name, metadata)
        if self._admit is not None:
            await self._admit(call, obj)
        spec = dict(obj.get("spec") or {})
        spec["audiences"] = list(spec.get("audiences") or self._audiences)
        lifetime_s = spec.get("expirationSeconds")
        lifetime_s = spec["expirationSeconds"] = DEFAULT_TOKEN_S if lifetime_s is None else lifetime_s
        _check_lifetime(lifetime_s)
        pod, secret, node = await self._bound(spec.get("boundObjectRef"), namespace, name)
        if self._max_lifetime_s and lifetime_s > self._max_lifetime_s:
            call.warnings.append(
                f"requested expiration of {lifetime_s} seconds shortened to {self._max_lifetime_s} seconds"
            )
            lifetime_s = spec["expirationSeconds"] = self._max_lifetime_s
        now = self._clock.now()
        extends = (
            self._extend_lifetime
            and pod is not None
            and lifetime_s == WARN_ONLY_TOKEN_S
            and set(spec["audiences"]) <= set(self._audiences)
        )
        claims = bound_claims(
            account=account,
            audiences=spec["audiences"],
            now=now,
            lifetime_s=EXTENDED_TOKEN_S if extends else lifetime_s,
            token_id=str(uuid.UUID(int=self._rng.getrandbits(128), version=4)),
            pod=pod,
            secret=secret,
            node=node,
            warn_after_s=lifetime_s if extends else 0,
        )
        metadata |= {
            "name": name,
            "namespace": namespace,
            "uid": uid_of(account),
            "creationTimestamp": format_time(now),
        }
        answer = {"token": self._issuer.sign(claims), "expirationTimestamp": format_time(now + lifetime_s)}
        return {**obj, "metadata": metadata, "spec": spec, "status": answer}

    async def _account(self, namespace: str, name: str, metadata: Mapping[str, Any]) -> Object:
        """The service account of a request, which the request's own metadata must not contradict."""
        for key, value, what in (("name", name, "name"), ("namespace", namespace, "namespace")):
            if metadata.get(key) and metadata[key] != value:
                why = f"must match the service account {what} if specified"
                faults = [invalid(Path("metadata").child(key), metadata[key], why)]
                raise invalid_object("authentication.k8s.io", "TokenRequest", name, faults)
        account = await self._objects.get(kinds.SERVICE_ACCOUNTS, namespace, name)
        if account is None:
            raise status.not_found("serviceaccounts", "", name)
        if metadata.get("uid") and metadata["uid"] != uid_of(account):
            why = (
                f"the UID in the token request ({metadata['uid']}) does not match "
                f"the UID of the service account ({uid_of(account)})"
            )
            raise status.conflict("TokenRequest", "authentication.k8s.io", name, why)
        return account

    async def _bound(
        self, reference: Mapping[str, Any] | None, namespace: str, account: str
    ) -> tuple[Object | None, Object | None, Object | None]:
        """The pod, secret and node that a token is to be bound to."""
        if not reference:
            return None, None, None
        match reference.get("apiVersion", ""), reference.get("kind", ""):
            case "v1" | "", "Pod":
                pod = await self._same(kinds.PODS, namespace, reference)
                spec = pod.get("spec") or {}
                if spec.get("serviceAccountName") != account:
                    raise status.BadRequest(
                        f'cannot bind token for serviceaccount "{account}" to pod running with '
                        "different serviceaccount name."
                    )
                node = None
                if node_name := spec.get("nodeName"):
                    found = await self._objects.get(kinds.NODES, "", node_name)
                    node = found if found is not None else {"metadata": {"name": node_name}}
                return pod, None, node
            case "v1" | "", "Secret":
                return None, await self._same(kinds.SECRETS, namespace, reference), None
            case "v1" | "", "Node":
                return None, None, await self._same(kinds.NODES, "", reference)
        group, _, version = reference.get("apiVersion", "").rpartition("/")
        raise status.BadRequest(
            f"cannot bind token to object of type {group}/{version}, Kind={reference.get('kind', '')}"
        )

    async def _same(self, gvr: kinds.GVR, namespace: str, reference: Mapping[str, Any]) -> Object:
        found = await self._objects.get(gvr, namespace, reference.get("name", ""))
        if found is None:
            raise status.not_found(gvr.plural, "", reference.get("name", ""))
        if reference.get("uid") and reference["uid"] != uid_of(found):
            why = (
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise status.conflict(gvr.kind, "", name_of(found), why)
        return found


def _check_lifetime(lifetime_s: int) -> None:
    path = Path("spec").child("expirationSeconds")
    if lifetime_s < MIN_TOKEN_S:
        faults = [invalid(path, lifetime_s, "may not specify a duration less than 10 minutes")]
    elif lifetime_s > MAX_TOKEN_S:
        faults = [invalid(path, lifetime_s, "may not specify a duration larger than 2^32 seconds")]
    else:
        return
    raise invalid_object("authentication.k8s.io", "TokenRequest", "", faults)
