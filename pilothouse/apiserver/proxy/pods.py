"""Logs of pods, and streams to them: exec, attach, port-forward.

Source: `pkg/registry/core/pod/strategy.go` (`LogLocation`, `streamLocation`), `pkg/registry/core/pod/rest`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from pilothouse.api import gvr as kinds
from pilothouse.api import status
from pilothouse.api.meta import Object, name_of, parse_time
from pilothouse.api.path import FieldError, Path, field_forbidden, invalid, invalid_object
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.objects import Objects
from pilothouse.apiserver.proxy.backend import fetch, read_some, tunnel
from pilothouse.apiserver.proxy.kubelet import Kubelets
from pilothouse.apiserver.route import is_true
from pilothouse.apiserver.websocket import bytes_over_websocket
from pilothouse.kit.http.message import Response
from pilothouse.kit.http.tunnel import wants_upgrade

_STREAM_FLAGS = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty"))
"""PodExecOptions and what the kubelet calls them."""


class PodStreams:
    """The connectors of a pod's subresources that its kubelet serves."""

    def __init__(self, objects: Objects, kubelets: Kubelets) -> None:
        self._objects = objects
        self._kubelets = kubelets

    async def log(self, call: Call) -> Response:
        """Follow or read a container's log, as plain HTTP or over a WebSocket.

        Raises NotFound, BadRequest, Invalid and the kubelet's refusals.
        """
        options = dict(parse_qsl(call.request.query, keep_blank_values=True)[::-1])
        _check_log_options(options, call.info.name)
        pod = await self._pod(call)
        container = container_name(pod, options.get("container", ""))
        node = pod["spec"].get("nodeName")
        if not node:
            return await bytes_over_websocket(call, Response(204, {}, b""))
        path = "/containerLogs/" + "/".join(map(quote, (call.info.namespace, name_of(pod), container)))
        verify = not is_true(options.get("insecureSkipTLSVerifyBackend", "false"))
        target = await self._kubelets.target(node, path, urlencode(list(_log_query(options))), verify=verify)
        code, headers, body = await fetch("GET", target, {"accept": "*/*"})
        if not 200 <= code <= 206:
            raise _refusal(code, (await read_some(body)).decode(errors="replace"), name_of(pod))
        return await bytes_over_websocket(
            call, Response(200, {"content-type": headers.get("content-type", "text/plain")}, body)
        )

    async def execute(self, call: Call) -> Response:
        """Run a command in a container. Raises NotFound, BadRequest."""
        return await self._stream(call, "exec")

    async def attach(self, call: Call) -> Response:
        """Join the streams of a running container. Raises NotFound, BadRequest."""
        return await self._stream(call, "attach")

    async def port_forward(self, call: Call) -> Response:
        """Reach ports of a pod. Raises NotFound, BadRequest."""
        pod = await self._pod(call)
        asked = parse_qsl(call.request.query)
        query = [("port", value) for name, value in asked if name == "ports"]
        return await self._tunnel(call, pod, f"/portForward/{quote(call.info.namespace)}/{quote(name_of(pod))}", query)

    async def _stream(self, call: Call, verb: str) -> Response:
        pod = await self._pod(call)
        asked = parse_qsl(call.request.query, keep_blank_values=True)
        options = dict(reversed(asked))
        container = container_name(pod, options.get("container", ""))
        query = [(flag, "1") for name, flag in _STREAM_FLAGS if is_true(options.get(name, _default(verb, name)))]
        if verb == "exec":
            query += [("command", value) for name, value in asked if name == "command"]
        path = f"/{verb}/" + "/".join(map(quote, (call.info.namespace, name_of(pod), container)))
        return await self._tunnel(call, pod, path, query)

    async def _tunnel(self, call: Call, pod: Object, path: str, query: list[tuple[str, str]]) -> Response:
        node = pod["spec"].get("nodeName")
        if not node:
            raise status.BadRequest(f"pod {name_of(pod)} does not have a host assigned")
        target = await self._kubelets.target(node, path, urlencode(query))
        request = call.request
        if not wants_upgrade(request.headers):
            raise status.BadRequest("Upgrade request required")
        return await tunnel(request.method, target, request.headers, request.body, peer=request.peer)

    async def _pod(self, call: Call) -> Object:
        pod = await self._objects.get(kinds.PODS, call.info.namespace, call.info.name)
        if pod is None:
            raise status.not_found("pods", "", call.info.name)
        return pod


def _default(verb: str, option: str) -> str:
    """PodAttachOptions and PodExecOptions both take the output streams unless told otherwise."""
    return "true" if option in ("stdout", "stderr") else "false"


def container_name(pod: Mapping[str, Any], asked: str) -> str:
    """The container that a request for a pod means. Raises BadRequest if it does not exist, or is not named and not the only one."""
    spec = pod["spec"]
    if asked:
        if asked not in (
            *_names(spec, "initContainers"),
            *_names(spec, "containers"),
            *_names(spec, "ephemeralContainers"),
        ):
            raise status.BadRequest(f"container {asked} is not valid for pod {name_of(pod)}")
        return asked
    names = list(_names(spec, "containers"))
    if len(names) == 1:
        return names[0]
    message = f"a container name must be specified for pod {name_of(pod)}"
    if names:
        message += f", choose one of: [{' '.join(names)}]"
        if init := list(_names(spec, "initContainers")):
            message += f" or one of the init containers: [{' '.join(init)}]"
    raise status.BadRequest(message)


def _names(spec: Mapping[str, Any], key: str) -> Iterable[str]:
    return (container["name"] for container in spec.get(key) or ())


def _check_log_options(options: Mapping[str, str], pod: str) -> None:
    faults: list[FieldError] = []
    if (time := options.get("sinceTime")) and not _is_time(time):
        why = f'parsing time "{time}" as "2006-01-02T15:04:05Z07:00": cannot parse "{time}" as "2006"'
        raise status.BadRequest(why)
    numbers = {name: _number(options, name) for name in ("tailLines", "limitBytes", "sinceSeconds")}
    if (tail := numbers["tailLines"]) is not None and tail < 0:
        faults.append(invalid(Path("tailLines"), tail, "must be greater than or equal to 0"))
    if (limit := numbers["limitBytes"]) is not None and limit < 1:
        faults.append(invalid(Path("limitBytes"), limit, "must be greater than 0"))
    since = numbers["sinceSeconds"]
    if since is not None and options.get("sinceTime"):
        faults.append(field_forbidden(Path("[]"), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    elif since is not None and since < 1:
        faults.append(invalid(Path("sinceSeconds"), since, "must be greater than 0"))
    if "stream" in options:
        # The feature PodLogsQuerySplitStreams is off.
        faults.append(field_forbidden(Path("stream"), "may not be specified"))
    if faults:
        raise invalid_object("", "PodLogOptions", pod, faults)


def _is_time(text: str) -> bool:
    try:
        parse_time(text)
    except ValueError:
        return False
    return True


def _number(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise status.BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _log_query(options: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    for name in ("follow", "previous", "timestamps"):
        if is_true(options.get(name, "false")):
            yield name, "true"
    for name in ("sinceSeconds", "sinceTime", "tailLines", "limitBytes"):
        if options.get(name):
            yield name, options[name]


def _refusal(code: int, text: str, pod: str) -> status.StatusError:
    """The Status for a kubelet's answer that is not a log."""
    text = text.strip()
    if code == 400:
        return status.BadRequest(text)
    if code == 500:
        return status.InternalError(f"Internal error occurred: {text}")
    if code == 404:
        return status.NotFound(text or f'pods "{pod}" not found', kind="pods", name=pod)
    return status.StatusError(text or f"the kubelet answered {code}", code=code, kind="pods", name=pod)
