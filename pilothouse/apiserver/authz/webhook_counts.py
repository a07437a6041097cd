"""What happened to questions to webhooks, by name; it is kept when the configuration is read again.

Source: apiserver `plugin/pkg/authorizer/webhook/metrics`, `pkg/authorization/cel/metrics.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pilothouse.apiserver.authz.conditions import ConditionCounts
from pilothouse.apiserver.authz.webhook import WebhookCounts
from pilothouse.kit.metrics import Family, Histogram, labelled

_PREFIX = "apiserver_authorization_"


class Counted:
    def __init__(self) -> None:
        self._webhooks: dict[str, WebhookCounts] = {}
        self._conditions: dict[str, ConditionCounts] = {}

    def webhook(self, name: str) -> WebhookCounts:
        return self._webhooks.setdefault(name, WebhookCounts())

    def conditions(self, name: str) -> ConditionCounts:
        return self._conditions.setdefault(name, ConditionCounts())

    def families(self) -> Iterable[Family]:
        """For `/metrics`."""
        webhooks = self._webhooks.items()
        yield _by_result(
            "webhook_evaluations_total",
            "counter",
            "Round-trips to authorization webhooks.",
            {(name, result): count for name, counts in webhooks for result, count in counts.evaluations.items()},
        )
        yield _by_result(
            "webhook_duration_seconds",
            "histogram",
            "Request latency in seconds.",
            {(name, result): seconds for name, counts in webhooks for result, seconds in counts.seconds.items()},
        )
        yield _by_result(
            "webhook_evaluations_fail_open_total",
            "counter",
            "NoOpinion results due to webhook timeout or error.",
            {(name, result): count for name, counts in webhooks for result, count in counts.failed_open.items()},
        )
        conditions = self._conditions.items()
        yield _of_conditions(
            "evaluation_errors_total",
            "counter",
            "Total number of errors when an authorization webhook encounters a match condition error split by authorizer type and "
            "name.",
            {name: counts.failures for name, counts in conditions if counts.failures},
        )
        yield _of_conditions(
            "exclusions_total",
            "counter",
            "Total number of exclusions when an authorization webhook is skipped because match conditions exclude it.",
            {name: counts.exclusions for name, counts in conditions if counts.exclusions},
        )
        yield _of_conditions(
            "evaluation_seconds",
            "histogram",
            "Authorization match condition evaluation time in seconds, split by authorizer type and name.",
            {name: counts.seconds for name, counts in conditions if counts.seconds.count},
        )


def _by_result(name: str, kind: str, help: str, values: Mapping[tuple[str, str], float | Histogram]) -> Family:
    return labelled(_PREFIX + name, kind, f"[ALPHA] {help}", ("name", "result"), values)


def _of_conditions(name: str, kind: str, help: str, values: Mapping[str, float | Histogram]) -> Family:
    keyed = {("Webhook", webhook): value for webhook, value in values.items()}
    return labelled(f"{_PREFIX}match_condition_{name}", kind, f"[ALPHA] {help}", ("type", "name"), keyed)
