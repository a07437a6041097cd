"""Whether the server lives and is ready: `/livez`, `/readyz`, `/healthz` and a path for each check.

As upstream, the store is a check of all three; only readiness asks as well whether the server is about to stop. Why a check has failed is
told on its own path, which needs a permission of its own, and in the log. Source: apiserver `pkg/server/healthz`, `pkg/server/healthz.go`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from urllib.parse import parse_qsl

from pilothouse.apiserver.call import Call
from pilothouse.apiserver.errors import page_not_found
from pilothouse.apiserver.seams import Connector
from pilothouse.kit.http.message import Response
from pilothouse.kit.log import get_logger
from pilothouse.kit.metrics import Family
from pilothouse.store.base import StoreUnavailable

Check = Callable[[], Awaitable[str]]
"""Gives the empty text if all is well, else the reason why not."""

_HEADERS = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}
_HOOK = "poststarthook/"
log = get_logger("pilothouse.apiserver.health")


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


class Progress:
    """How far the server has come: what it has begun, by the names of upstream's post-start hooks."""

    def __init__(self, hooks: Iterable[str]) -> None:
        self._is_done = dict.fromkeys(hooks, False)

    def done(self, *hooks: str) -> None:
        """Raises KeyError for a hook that was not announced."""
        for hook in hooks:
            if hook not in self._is_done:
                raise KeyError(hook)
            self._is_done[hook] = True

    def checks(self) -> dict[str, Check]:
        """One for each hook, in their order."""
        return {hook if "-completion" in hook else _HOOK + hook: self._check(hook) for hook in self._is_done}

    def _check(self, hook: str) -> Check:
        async def check() -> str:
            return "" if self._is_done[hook] else "not finished"

        return check

    async def informers(self) -> str:
        """Whether everything that follows objects has seen those that there are."""
        missing = [hook for hook, is_done in self._is_done.items() if not is_done and "informer" in hook]
        return f"{len(missing)} informers not started yet: {missing}" if missing else ""


def running(is_stopping: Callable[[], bool]) -> Check:
    """Whether the server is not about to stop."""

    async def check() -> str:
        return "process is shutting down" if is_stopping() else ""

    return check


class Outcomes:
    """What checks have said, for `/metrics/slis`."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, str], bool] = {}
        self._counts: dict[tuple[str, str, str], int] = {}

    def note(self, check: str, endpoint: str, *, is_well: bool) -> None:
        self._latest[check, endpoint] = is_well
        key = (check, endpoint, "success" if is_well else "error")
        self._counts[key] = self._counts.get(key, 0) + 1

    def families(self) -> Iterable[Family]:
        latest = Family(
            "kubernetes_healthcheck", "gauge", "[STABLE] This metric records the result of a single healthcheck."
        )
        for (check, endpoint), is_well in self._latest.items():
            latest.add(is_well, {"name": check, "type": endpoint})
        counts = Family(
            "kubernetes_healthchecks_total", "counter", "[STABLE] This metric records the results of all healthcheck."
        )
        for (check, endpoint, outcome), count in self._counts.items():
            counts.add(count, {"name": check, "status": outcome, "type": endpoint})
        return latest, counts


class Health:
    """One endpoint with its checks, in the order in which they are shown."""

    def __init__(self, name: str, checks: Mapping[str, Check], outcomes: Outcomes | None = None) -> None:
        self.name = name
        self._checks = dict(checks)
        self._outcomes = outcomes or Outcomes()

    def paths(self) -> dict[str, Connector]:
        """For `ApiServer`: the endpoint and one path for each check."""
        return {f"/{self.name}": self.serve, f"/{self.name}/": self.serve_one}

    async def serve(self, call: Call) -> Response:
        """All checks but those in `exclude`, which may be given more than once; `verbose` shows them."""
        asked = parse_qsl(call.request.query, keep_blank_values=True)
        excluded = {value for key, value in asked if key == "exclude"}
        wanted = [name for name in self._checks if name not in excluded]
        found = dict(zip(wanted, await asyncio.gather(*(self._checks[name]() for name in wanted)), strict=True))
        lines: list[str] = []
        failed: dict[str, str] = {}
        for name in self._checks:
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
                continue
            self._outcomes.note(name, self.name, is_well=not found[name])
            if why := found[name]:
                failed[name] = why
                lines.append(f"[-]{name} failed: reason withheld")
            else:
                lines.append(f"[+]{name} ok")
        if unknown := sorted(excluded - self._checks.keys()):
            quoted = ", ".join(f'"{name}"' for name in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
        if failed:
            log.warning(f"{self.name} check failed", **failed)
            return Response(500, _HEADERS, ("\n".join([*lines, f"{self.name} check failed"]) + "\n").encode())
        if any(key == "verbose" for key, _ in asked):
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
        return Response(200, {"content-type": _HEADERS["content-type"]}, b"ok")
