"""What admission decides on when somebody connects to a pod, a service or a node. Source: `pkg/apis/core/types.go`, Pod*Options."""

from __future__ import annotations

from urllib.parse import parse_qsl

from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.route import is_true

_KINDS = {"exec": "PodExecOptions", "attach": "PodAttachOptions", "portforward": "PodPortForwardOptions"}
_FLAGS = ("stdin", "stdout", "stderr", "tty")


def connection(call: Call, resource: Resource, subresource: str) -> Attributes:
    """The connection that a request asks for, its options as the object."""
    info = call.info
    options = _options(call, resource, subresource)
    return Attributes(
        "CONNECT",
        resource,
        resource.gvr,
        info.namespace,
        info.name,
        call.user,
        options,
        subresource=subresource,
        warnings=call.warnings,
        annotations={} if call.annotations is None else call.annotations,
    )


def _options(call: Call, resource: Resource, subresource: str) -> Object:
    kind = _KINDS.get(subresource, f"{resource.gvr.kind}ProxyOptions")
    options: Object = {"kind": kind, "apiVersion": "v1"}
    asked = parse_qsl(call.request.query, keep_blank_values=True)
    first = dict(reversed(asked))
    if subresource in ("exec", "attach"):
        options |= {flag: True for flag in _FLAGS if is_true(first.get(flag, ""))}
        if first.get("container"):
            options["container"] = first["container"]
        if subresource == "exec":
            options["command"] = [value for name, value in asked if name == "command"]
    elif subresource == "portforward":
        options["ports"] = [int(value) for name, value in asked if name == "ports" and value.isdigit()]
    else:
        options["path"] = call.info.subpath or first.get("path", "")
    return options
