"""`/version`: which Kubernetes this is."""

from __future__ import annotations

import platform

import orjson

import pilothouse
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.negotiate import JSON, check_routed
from pilothouse.kit.http.message import Response

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def version_info() -> dict[str, str]:
    """`apimachinery/pkg/version.Info`. The Kubernetes API that is spoken, with Pilothouse's own version as its build."""
    major, minor, _ = pilothouse.KUBERNETES_VERSION.removeprefix("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": f"{pilothouse.KUBERNETES_VERSION}+pilothouse.{pilothouse.__version__}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{_ARCHITECTURES.get(platform.machine(), platform.machine())}",
    }


async def serve(call: Call) -> Response:
    """Raises MethodNotAllowed, NotAcceptable."""
    check_routed(call.request, JSON)
    body = orjson.dumps(version_info(), option=orjson.OPT_INDENT_2)
    return Response(200, {"content-type": JSON}, body)
