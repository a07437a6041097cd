"""The Webhook mode: a server that `--authorization-webhook-config-file` or a file of authorizers names is sent SubjectAccessReviews.

Its answers are kept for a while. Source: apiserver `plugin/pkg/authorizer/webhook`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from pilothouse.api.field_selector import parse_fields
from pilothouse.api.meta import Object
from pilothouse.api.selector import Operator, Requirement, parse_labels
from pilothouse.api.status import BadRequest
from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import Attributes, Decision, Remote, UserRules, Verdict
from pilothouse.apiserver.authz.conditions import ConditionsFailed, MatchConditions
from pilothouse.apiserver.webhooks.remote import RemoteFailed, RemoteWebhook
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kit.metrics import Histogram

VERSIONS = ("v1", "v1beta1")
_MAX_CACHED = 8192
_MAX_ASKED_CHARACTERS = 10000
"""Of what the client writes itself. An answer to more than that is not kept: somebody may be filling the memory."""
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_OPERATORS = {
    Operator.IN: "In",
    Operator.EQUALS: "In",
    Operator.DOUBLE_EQUALS: "In",
    Operator.NOT_IN: "NotIn",
    Operator.NOT_EQUALS: "NotIn",
    Operator.EXISTS: "Exists",
    Operator.DOES_NOT_EXIST: "DoesNotExist",
}
log = get_logger("pilothouse.apiserver.authz")


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """How a webhook is asked. A time of 0 means that such answers are not kept."""

    name: str
    version: str = "v1"
    authorized_ttl_s: float = 300.0
    unauthorized_ttl_s: float = 30.0
    verdict_on_error: Verdict = Verdict.NO_OPINION


@dataclass(slots=True)
class WebhookCounts:
    """What happened, by result: success, timeout and error."""

    evaluations: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, Histogram] = field(default_factory=dict)
    failed_open: dict[str, int] = field(default_factory=dict)

    def observe(self, result: str, seconds: float) -> None:
        self.evaluations[result] = self.evaluations.get(result, 0) + 1
        if result not in self.seconds:
            self.seconds[result] = Histogram(_BUCKETS_S)
        self.seconds[result].observe(seconds)

    def fail_open(self, result: str) -> None:
        self.failed_open[result] = self.failed_open.get(result, 0) + 1


class WebhookAuthorizer(Remote):
    def __init__(
        self,
        webhook: RemoteWebhook,
        settings: WebhookSettings,
        clock: Clock,
        conditions: MatchConditions | None = None,
        counts: WebhookCounts | None = None,
    ) -> None:
        self.counts = counts or WebhookCounts()
        self.conditions = conditions
        self._webhook = webhook
        self._settings = settings
        self._clock = clock
        self._answers: OrderedDict[bytes, tuple[float, Decision]] = OrderedDict()

    def known(self, attributes: Attributes) -> Decision | None:
        spec = spec_of(attributes)
        if self.conditions is not None:
            try:
                if not self.conditions.hold(spec):
                    return Decision(Verdict.NO_OPINION)
            except ConditionsFailed as failure:
                return Decision(self._settings.verdict_on_error, "", str(failure))
        return self._kept(_key(spec))

    async def ask(self, attributes: Attributes) -> Decision:
        spec = spec_of(attributes)
        settings = self._settings
        result = "success"

        def observe(failure: RemoteFailed | None, seconds: float) -> None:
            nonlocal result
            result = "success" if failure is None else "timeout" if failure.is_timeout else "error"
            self.counts.observe(result, seconds)

        review = {"kind": "SubjectAccessReview", "apiVersion": f"authorization.k8s.io/{settings.version}"}
        document: Object = {
            **review,
            "metadata": {},
            "spec": _spoken(spec, settings.version),
            "status": {"allowed": False},
        }
        try:
            answer = await self._webhook.ask(document, observe)
        except RemoteFailed as failure:
            log.error("the authorization webhook failed", name=settings.name, reason=str(failure))
            if settings.verdict_on_error is Verdict.NO_OPINION:
                self.counts.fail_open(result)
            return Decision(settings.verdict_on_error, "", str(failure))
        status = answer.get("status") or {}
        decision = _decision(status)
        ttl_s = settings.authorized_ttl_s if status.get("allowed") else settings.unauthorized_ttl_s
        if ttl_s > 0 and _asked_characters(attributes) < _MAX_ASKED_CHARACTERS:
            self._keep(_key(spec), decision, ttl_s)
        return decision

    async def close(self) -> None:
        await self._webhook.close()

    def rules_for(self, user: User, namespace: str) -> UserRules:
        return UserRules((), False, "webhook authorizer does not support user rule resolution")

    def _kept(self, key: bytes) -> Decision | None:
        found = self._answers.get(key)
        if found is None:
            return None
        until, decision = found
        if self._clock.monotonic() >= until:
            del self._answers[key]
            return None
        self._answers.move_to_end(key)
        return decision

    def _keep(self, key: bytes, decision: Decision, ttl_s: float) -> None:
        self._answers[key] = self._clock.monotonic() + ttl_s, decision
        self._answers.move_to_end(key)
        if len(self._answers) > _MAX_CACHED:
            self._answers.popitem(last=False)


def _key(spec: Object) -> bytes:
    return orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)


def _decision(status: Mapping[str, Any]) -> Decision:
    reason = status.get("reason") or ""
    if status.get("denied"):
        both = "webhook subject access review returned both allow and deny response" if status.get("allowed") else ""
        return Decision(Verdict.DENY, reason, both)
    return Decision(Verdict.ALLOW if status.get("allowed") else Verdict.NO_OPINION, reason)


def _asked_characters(attributes: Attributes) -> int:
    return sum(len(text) for text in attributes[1:9])


def spec_of(attributes: Attributes) -> Object:
    """The spec of the SubjectAccessReview that asks about `attributes`, in version v1."""
    user = attributes.user
    spec: Object = {}
    if attributes.is_resource:
        fields = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
        asked: Object = {field: getattr(attributes, field) for field in fields if getattr(attributes, field)}
        if requirements := _field_requirements(attributes.field_selector):
            asked["fieldSelector"] = {"requirements": requirements}
        if requirements := _label_requirements(attributes.label_selector):
            asked["labelSelector"] = {"requirements": requirements}
        spec["resourceAttributes"] = asked
    else:
        parts = {"path": attributes.path, "verb": attributes.verb}
        spec["nonResourceAttributes"] = {key: value for key, value in parts.items() if value}
    if user.name:
        spec["user"] = user.name
    if user.groups:
        spec["groups"] = list(user.groups)
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra.items()}
    if user.uid:
        spec["uid"] = user.uid
    return spec


def _spoken(spec: Object, version: str) -> Object:
    """Version v1beta1 calls the groups `group`."""
    if version == "v1" or "groups" not in spec:
        return spec
    return {("group" if key == "groups" else key): value for key, value in spec.items()}


def _field_requirements(text: str) -> list[Object]:
    try:
        found = parse_fields(text).requirements if text else ()
    except BadRequest:
        return []
    return [
        {"key": each.field, "operator": "In" if each.operator == "=" else "NotIn", "values": [each.value]}
        for each in found
    ]


def _label_requirements(text: str) -> list[Object]:
    try:
        found: tuple[Requirement, ...] = parse_labels(text).requirements if text else ()
    except BadRequest:
        return []
    known = [each for each in found if each.operator in _OPERATORS]
    return [
        {
            "key": each.key,
            "operator": _OPERATORS[each.operator],
            **({"values": list(each.values)} if each.values else {}),
        }
        for each in known
    ]
