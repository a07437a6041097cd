"""How often requests were authenticated, and whose they were. Source: apiserver `pkg/endpoints/filters/metrics.go`."""

from __future__ import annotations

from pilothouse.api.user import User

_KNOWN = frozenset({"admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"})


class Attempts:
    """`results` are counted as `success`, `failure` where there was no credential, and `error` where none was accepted."""

    def __init__(self) -> None:
        self.results = {"success": 0, "failure": 0, "error": 0}
        self.users: dict[str, int] = {}
        """By a name that is known, or `email_id`, or `other`: names of users are nobody's business here."""

    def succeeded(self, user: User) -> None:
        self.results["success"] += 1
        kind = user.name if user.name in _KNOWN else "email_id" if "@" in user.name else "other"
        self.users[kind] = self.users.get(kind, 0) + 1

    def failed(self) -> None:
        self.results["error"] += 1

    def found_nothing(self) -> None:
        self.results["failure"] += 1
