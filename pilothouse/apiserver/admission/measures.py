"""What webhooks and policies of admission have done, under upstream's names. Nothing is counted for writes that they do not concern.

Source: apiserver `pkg/admission/metrics`, `plugin/policy/{validating,mutating}/metrics`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pilothouse.kit.clock import Clock
from pilothouse.kit.metrics import Family, Histogram

_WEBHOOK_BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)
_POLICY_BUCKETS_S = (0.0000005, 0.001, 0.01, 0.1, 1.0)
_MAX_CODE = 600
NO_ERROR, CALL_ERROR, INTERNAL_ERROR = "no_error", "calling_webhook_error", "apiserver_internal_error"
COMPILE_ERROR, INVALID_ERROR, OUT_OF_BUDGET = "compile_error", "invalid_error", "out_of_budget"
_Labels = tuple[str, ...]
_WEBHOOK = "apiserver_admission_webhook"


class AdmissionMeasures:
    """Counts; `now` is the time from which durations are measured, in seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._durations: dict[_Labels, Histogram] = {}
        self._requests: Counter[_Labels] = Counter()
        self._rejections: Counter[_Labels] = Counter()
        self._failed_open: Counter[_Labels] = Counter()
        self._checks: dict[str, Counter[_Labels]] = {"validating": Counter(), "mutating": Counter()}
        self._check_durations: dict[str, dict[_Labels, Histogram]] = {"validating": {}, "mutating": {}}

    def now(self) -> float:
        return self._clock.monotonic()

    def called(self, hook: str, type_: str, operation: str, code: int, began: float, *, error: str = "") -> None:
        """One call of a webhook; with `error` (one of the constants) it refused the write, with HTTP's `code`."""
        is_rejected = "true" if error else "false"
        labels = (hook, type_, operation, is_rejected)
        histogram = self._durations.get(labels)
        if histogram is None:
            histogram = self._durations[labels] = Histogram(_WEBHOOK_BUCKETS_S)
        histogram.observe(self.now() - began)
        code = min(code, _MAX_CODE)
        self._requests[hook, type_, operation, str(code), is_rejected] += 1
        if error:
            self._rejections[hook, type_, operation, error, str(code)] += 1

    def failed_open(self, hook: str, type_: str) -> None:
        self._failed_open[hook, type_] += 1

    def checked(self, kind: str, policy: str, binding: str, error: str, action: str, began: float) -> None:
        """One decision of a policy; `kind` is validating or mutating, `action` what came of it: allow, deny, audit or warn."""
        labels = (policy, binding, error, action) if kind == "validating" else (policy, binding, error)
        self._checks[kind][labels] += 1
        durations = self._check_durations[kind]
        histogram = durations.get(labels)
        if histogram is None:
            histogram = durations[labels] = Histogram(_POLICY_BUCKETS_S)
        histogram.observe(self.now() - began)

    def families(self) -> Iterable[Family]:
        webhook = ("name", "type", "operation")
        durations = Family(
            f"{_WEBHOOK}_admission_duration_seconds", "histogram", "Admission webhook latency in seconds."
        )
        _add_histograms(durations, (*webhook, "rejected"), self._durations)
        yield durations
        yield _counts(f"{_WEBHOOK}_request_total", (*webhook, "code", "rejected"), self._requests)
        yield _counts(f"{_WEBHOOK}_rejection_count", (*webhook, "error_type", "rejection_code"), self._rejections)
        yield _counts(f"{_WEBHOOK}_fail_open_count", ("name", "type"), self._failed_open)
        for kind, names in (
            ("validating", ("policy", "policy_binding", "error_type", "enforcement_action")),
            ("mutating", ("policy", "policy_binding", "error_type")),
        ):
            name = f"apiserver_{kind}_admission_policy_check"
            yield _counts(f"{name}_total", names, self._checks[kind])
            seconds = Family(f"{name}_duration_seconds", "histogram", "How long decisions of policies took.")
            _add_histograms(seconds, names, self._check_durations[kind])
            yield seconds


def _counts(name: str, labels: tuple[str, ...], counts: Counter[_Labels]) -> Family:
    family = Family(name, "counter", "See upstream's reference of metrics.")
    for values, count in counts.items():
        family.add(count, dict(zip(labels, values, strict=True)))
    return family


def _add_histograms(family: Family, labels: tuple[str, ...], histograms: dict[_Labels, Histogram]) -> None:
    for values, histogram in histograms.items():
        histogram.add_to(family, dict(zip(labels, values, strict=True)))
