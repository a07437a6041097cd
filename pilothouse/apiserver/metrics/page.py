"""`/metrics` and `/metrics/slis`: whatever parts of the server have counted, put together when it is asked for.

Source: apiserver `pkg/server/routes/metrics.go`, component-base `metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pilothouse.apiserver.call import Call
from pilothouse.apiserver.version import version_info
from pilothouse.kit.http.message import Response
from pilothouse.kit.metrics import CONTENT_TYPE, OPENMETRICS, Family, process, render, wants_openmetrics

Source = Callable[[], Iterable[Family]]
_BUILD = {
    "major": "major",
    "minor": "minor",
    "git_version": "gitVersion",
    "git_commit": "gitCommit",
    "git_tree_state": "gitTreeState",
    "build_date": "buildDate",
    "go_version": "goVersion",
    "compiler": "compiler",
    "platform": "platform",
}


class Page:
    """One page."""

    def __init__(self, *sources: Source) -> None:
        self._sources: list[Source] = list(sources)

    def add(self, source: Source) -> None:
        """Show what `source` tells as well."""
        self._sources.append(source)

    async def serve(self, call: Call) -> Response:
        as_openmetrics = wants_openmetrics(call.request.headers.get("accept", ""))
        families = (family for source in self._sources for family in source())
        content_type = OPENMETRICS if as_openmetrics else CONTENT_TYPE
        return Response(200, {"content-type": content_type}, render(families, as_openmetrics=as_openmetrics))


def build() -> Iterable[Family]:
    """Which version this is."""
    version = version_info()
    family = Family(
        "kubernetes_build_info",
        "gauge",
        "[BETA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, "
        "Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
    )
    yield family.add(1, {label: version[name] for label, name in _BUILD.items()})


def this_process(started_at: float) -> Source:
    return lambda: process(started_at)
