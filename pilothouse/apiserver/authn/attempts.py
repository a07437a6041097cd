"""How often requests were authenticated, and whose they were. Source: apiserver `pkg/endpoints/filters/metrics.go`."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.user import User
from pilothouse.kit.clock import Clock
from pilothouse.kit.metrics import Family, Histogram, exponential, labelled

_DURATIONS_S = exponential(0.001, 2, 15)
_KNOWN = frozenset({"admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"})


class Attempts:
    """Told when each attempt `began`, by the clock's monotonic time.

    `results` are how long it took, by `success`, `failure` where there was no credential, and `error` where none was accepted.
    """

    def __init__(self, clock: Clock) -> None:
        self.results = {result: Histogram(_DURATIONS_S) for result in ("success", "failure", "error")}
        self.users: dict[str, int] = {}
        """By a name that is known, or `email_id`, or `other`: names of users are nobody's business here."""
        self._monotonic = clock.monotonic
        self._succeeded = self.results["success"].observe

    def succeeded(self, user: User, began: float) -> None:
        self._succeeded(self._monotonic() - began)
        kind = user.name if user.name in _KNOWN else "email_id" if "@" in user.name else "other"
        self.users[kind] = self.users.get(kind, 0) + 1

    def failed(self, began: float) -> None:
        self.results["error"].observe(self._monotonic() - began)

    def found_nothing(self, began: float) -> None:
        self.results["failure"].observe(self._monotonic() - began)

    def families(self) -> Iterable[Family]:
        """For `/metrics`."""
        results = {(result,): seconds for result, seconds in self.results.items() if seconds.count}
        yield labelled(
            "authenticated_user_requests",
            "counter",
            "[ALPHA] Counter of authenticated requests broken out by username.",
            ("username",),
            {(user,): count for user, count in self.users.items()},
        )
        yield labelled(
            "authentication_attempts", "counter", "[ALPHA] Counter of authenticated attempts.", ("result",), results
        )
        yield labelled(
            "authentication_duration_seconds",
            "histogram",
            "[ALPHA] Authentication duration in seconds broken out by result.",
            ("result",),
            results,
        )
