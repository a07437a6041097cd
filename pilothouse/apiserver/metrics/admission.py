"""How long admission takes: each step as a whole and each plugin. Source: apiserver `pkg/admission/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pilothouse.kit.clock import Clock
from pilothouse.kit.metrics import Family, Histogram

ADMIT, VALIDATE = "admit", "validate"
_BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
_Key = tuple[str, str, str, bool]


class AdmissionTimes:
    """Told by the chain. Times are monotonic."""

    def __init__(self, clock: Clock) -> None:
        self.now = clock.monotonic
        self._steps: dict[_Key, Histogram] = {}
        self._plugins: dict[_Key, Histogram] = {}

    def plugin(self, name: str, kind: str, operation: str) -> Callable[[float], None]:
        """Takes the seconds for which a plugin has worked on a write that it let pass."""
        return self._plugins.setdefault((name, kind, operation, False), Histogram(_BUCKETS_S)).observe

    def rejected(self, name: str, kind: str, operation: str, began: float) -> None:
        """A plugin has refused a write."""
        _note(self._plugins, (name, kind, operation, True), self.now() - began)

    def step(self, kind: str, operation: str, began: float, *, is_rejected: bool = False) -> None:
        """All plugins of a step are done."""
        _note(self._steps, ("", kind, operation, is_rejected), self.now() - began)

    def families(self) -> Iterable[Family]:
        """For `/metrics`."""
        yield self._family(
            self._steps,
            "apiserver_admission_step_admission_duration_seconds",
            "[STABLE] Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type "
            "(validate or admit).",
        )
        yield self._family(
            self._plugins,
            "apiserver_admission_controller_admission_duration_seconds",
            "[STABLE] Admission controller latency histogram in seconds, identified by name and broken out for each operation and "
            "API resource and type (validate or admit).",
        )

    @staticmethod
    def _family(times: dict[_Key, Histogram], name: str, help: str) -> Family:
        family = Family(name, "histogram", help)
        for (plugin, kind, operation, is_rejected), found in times.items():
            if not found.count:
                continue
            labels = {"name": plugin} if plugin else {}
            labels |= {"operation": operation, "rejected": "true" if is_rejected else "false", "type": kind}
            found.add_to(family, labels)
        return family


def _note(times: dict[_Key, Histogram], key: _Key, seconds: float) -> None:
    found = times.get(key)
    if found is None:
        found = times[key] = Histogram(_BUCKETS_S)
    found.observe(seconds)
