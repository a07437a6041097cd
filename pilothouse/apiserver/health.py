"""Whether the server lives and is ready: `/livez`, `/readyz`, `/healthz` and a path for each check.

Source: apiserver `pkg/server/healthz`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from pilothouse.apiserver.app import Connector
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.errors import page_not_found
from pilothouse.kit.http.message import Response
from pilothouse.store.base import StoreUnavailable

Check = Callable[[], Awaitable[str]]
"""Gives the empty text if all is well, else the reason why not."""

_HEADERS = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}


STARTED = (
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-readiness",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
)
"""Upstream's names for what a server does when it starts. This one listens only when all of it is done, and ends if any of what goes on
from there fails: whoever gets an answer knows that they are well, and finds them by name."""


async def ping() -> str:
    return ""


def answering(ask: Callable[[], Awaitable[object]], timeout_s: float) -> Check:
    """Whether the store answers a question, and soon enough."""

    async def check() -> str:
        try:
            async with asyncio.timeout(timeout_s):
                await ask()
        except TimeoutError:
            return f"the store does not answer within {timeout_s:g} s"
        except StoreUnavailable as error:
            return str(error)
        return ""

    return check


class Health:
    """One endpoint with its checks, in the order in which they are shown."""

    def __init__(self, name: str, checks: Mapping[str, Check]) -> None:
        self.name = name
        self._checks = dict(checks)

    def paths(self) -> dict[str, Connector]:
        """For `ApiServer`: the endpoint and one path for each check."""
        return {f"/{self.name}": self.serve, f"/{self.name}/": self.serve_one}

    async def serve(self, call: Call) -> Response:
        """All checks but those in `exclude`; `verbose` shows them."""
        excluded = {call.query["exclude"]} if call.query.get("exclude") else set()
        lines: list[str] = []
        failed: list[str] = []
        wanted = [name for name in self._checks if name not in excluded]
        found = dict(zip(wanted, await asyncio.gather(*(self._checks[name]() for name in wanted)), strict=True))
        for name in self._checks:
            if name in excluded:
                excluded.discard(name)
                lines.append(f"[+]{name} excluded: ok")
            elif why := found[name]:
                failed.append(name)
                lines.append(f"[-]{name} failed: {why}" if call.user.name else f"[-]{name} failed: reason withheld")
            else:
                lines.append(f"[+]{name} ok")
        lines += (f"warn: some health checks cannot be excluded: no matches for {name}" for name in sorted(excluded))
        if failed:
            return Response(500, _HEADERS, ("\n".join([*lines, f"{self.name} check failed"]) + "\n").encode())
        if "verbose" in call.query:
            return Response(200, _HEADERS, ("\n".join([*lines, f"{self.name} check passed"]) + "\n").encode())
        return Response(200, _HEADERS, b"ok")

    async def serve_one(self, call: Call) -> Response:
        """The check that the path names."""
        name = call.info.path.removeprefix(f"/{self.name}/")
        check = self._checks.get(name)
        if check is None:
            return page_not_found()
        why = await check()
        if why:
            return Response(500, _HEADERS, f"internal server error: {why}\n".encode())
        return Response(200, _HEADERS, b"ok")
