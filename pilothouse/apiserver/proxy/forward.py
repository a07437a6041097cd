"""HTTP to pods, services and nodes: `proxy` subresources.

A name may be `name`, `name:port` or `scheme:name:port`. Source: `pkg/registry/core/{pod,service,node}`, `ResourceLocation`;
apimachinery `pkg/util/proxy/upgradeaware.go`.
"""

from __future__ import annotations

import gzip
import ipaddress
import random
import ssl
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from pilothouse.api import gvr as kinds
from pilothouse.api import status
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.objects import Objects
from pilothouse.apiserver.proxy.backend import fetch, passed_on, tunnel, with_client
from pilothouse.apiserver.proxy.kubelet import Kubelets
from pilothouse.apiserver.proxy.rewrite import rewrite_html, rewrite_url
from pilothouse.kit.http.message import Response
from pilothouse.kit.http.tunnel import HOP_HEADERS, Target, wants_upgrade

_DROPPED = HOP_HEADERS | {f"access-control-allow-{name}" for name in ("credentials", "headers", "methods", "origin")}
"""What of an answer concerns only the connection to the backend, or would let its pages speak for this server."""


def _inflate(data: bytes) -> bytes:
    return zlib.decompress(data, -zlib.MAX_WBITS)


def _deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


_Coding = Callable[[bytes], bytes]
_CODINGS: Mapping[str, tuple[_Coding, _Coding]] = {
    "": (bytes, bytes),
    "gzip": (gzip.decompress, gzip.compress),
    "deflate": (_inflate, _deflate),
}
_SAFE = "/:@!$&'()*+,;=~%"


class Name(NamedTuple):
    scheme: str
    name: str
    port: str


def split_name(text: str) -> Name | None:
    """`name`, `name:port`, `scheme:name:port`; None for anything else."""
    parts = text.split(":")
    match parts:
        case [name]:
            scheme, port = "http", ""
        case [name, port]:
            scheme = "http"
        case [scheme, name, port]:
            scheme = scheme or "http"
        case _:
            return None
    return Name(scheme, name, port) if name and scheme in ("http", "https") else None


class Forwarder:
    """The connectors of the `proxy` subresources."""

    def __init__(self, objects: Objects, kubelets: Kubelets, rng: random.Random) -> None:
        self._objects = objects
        self._kubelets = kubelets
        self._rng = rng

    async def pod(self, call: Call) -> Response:
        """Raises NotFound, BadRequest, ServiceUnavailable."""
        name = self._name(call, "pod")
        found = await self._objects.get(kinds.PODS, call.info.namespace, name.name)
        if found is None:
            raise status.not_found("pods", "", name.name)
        port = name.port or _first_port(found)
        address = str((found.get("status") or {}).get("podIP") or "")
        _check_address(address)
        return await self._forward(call, name.scheme, address, _port_number(port, name.scheme))

    async def service(self, call: Call) -> Response:
        """Raises NotFound, ServiceUnavailable."""
        name = self._name(call, "service")
        port_name = name.port
        if name.port.isdigit():
            service = await self._objects.get(kinds.SERVICES, call.info.namespace, name.name)
            if service is None:
                raise status.not_found("services", "", name.name)
            ports = (service.get("spec") or {}).get("ports") or ()
            matching = [port for port in ports if port["port"] == int(name.port)]
            if not matching:
                raise status.ServiceUnavailable(f'no service port {name.port} found for service "{name.name}"')
            port_name = matching[0].get("name", "")
        endpoints = await self._objects.get(kinds.ENDPOINTS, call.info.namespace, name.name)
        if endpoints is None:
            raise status.not_found("services", "", name.name)
        subsets = list(endpoints.get("subsets") or ())
        if not subsets:
            raise status.ServiceUnavailable(f'no endpoints available for service "{name.name}"')
        self._rng.shuffle(subsets)
        for subset in subsets:
            ports = [port["port"] for port in subset.get("ports") or () if port.get("name", "") == port_name]
            addresses = list(subset.get("addresses") or ())
            self._rng.shuffle(addresses)
            for address in addresses if ports else ():
                if await self._is_of_pod(address, call.info.namespace):
                    return await self._forward(call, name.scheme, address["ip"], ports[0])
        raise status.ServiceUnavailable(f'no endpoints available for service "{call.info.name}"')

    async def _is_of_pod(self, address: Mapping[str, Any], namespace: str) -> bool:
        """Whether an endpoint is a pod's, of the Service's namespace: whoever writes endpoints must not lead this server elsewhere."""
        reference = address.get("targetRef") or {}
        if reference.get("namespace") != namespace or not reference.get("name"):
            return False
        pod = await self._objects.get(kinds.PODS, namespace, reference["name"])
        if pod is None:
            return False
        found = pod.get("status") or {}
        return address["ip"] in (found.get("podIP"), *(each.get("ip") for each in found.get("podIPs") or ()))

    async def node(self, call: Call) -> Response:
        """The kubelet's own port with the API server's credentials; another port of the node without. Raises NotFound, BadRequest."""
        name = self._name(call, "node")
        host, port = await self._kubelets.address(name.name)
        if name.port in ("", str(port)):
            target = await self._kubelets.target(name.name, *_rest(call))
            return await self._send(call, target)
        _check_address(host)
        return await self._forward(call, name.scheme, host, _port_number(name.port, name.scheme))

    @staticmethod
    def _name(call: Call, kind: str) -> Name:
        name = split_name(call.info.name)
        if name is None:
            raise status.BadRequest(f'invalid {kind} request "{call.info.name}"')
        return name

    async def _forward(self, call: Call, scheme: str, host: str, port: int) -> Response:
        context = None
        if scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return await self._send(call, Target(host, port, *_rest(call), context))

    @staticmethod
    async def _send(call: Call, target: Target) -> Response:
        request = call.request
        prefix = _prefix(call)
        if wants_upgrade(request.headers):
            return await tunnel(request.method, target, request.headers, request.body, peer=request.peer)
        if not call.info.subpath and not request.path.endswith("/") and request.method in ("GET", "HEAD"):
            location = quote(request.path, _SAFE) + "/" + (f"?{request.query}" if request.query else "")
            return Response(301, {"location": location}, b"")
        headers = _forwarded(call, prefix + target.path)
        code, answered, body = await fetch(request.method, target, headers, request.body)
        kept = {name: value for name, value in answered.items() if name not in _DROPPED}
        if request.method == "HEAD" or "content-encoding" not in kept:
            kept |= {name: value for name, value in answered.items() if name == "content-length"}
        here = (prefix, target.authority, request.headers.get("host", ""))
        if "location" in kept:
            kept["location"] = rewrite_url(kept["location"], *here)
            return Response(code, kept, body)
        encoding = kept.get("content-encoding", "")
        if kept.get("content-type", "").partition(";")[0].strip() != "text/html" or encoding not in _CODINGS:
            return Response(code, kept, body)
        unpack, pack = _CODINGS[encoding]
        page = b"".join([chunk async for chunk in body])
        kept.pop("content-length", None)
        return Response(code, kept, pack(rewrite_html(unpack(page), *here)) if page else page)


def _forwarded(call: Call, uri: str) -> dict[str, str]:
    """The headers of the request as it goes on: with the client's own Host and encodings, and where it comes from."""
    request = call.request
    headers = {**passed_on(request.headers), "x-forwarded-uri": uri}
    headers.setdefault("accept-encoding", "identity")
    if host := request.headers.get("host"):
        headers["host"] = host
    return with_client(headers, request.peer)


def _rest(call: Call) -> tuple[str, str]:
    """The path and query that follow the proxy subresource, percent-encoded as the client sent them."""
    raw = call.request.raw_path.partition("?")[0] or quote(call.request.path, _SAFE)
    return "/" + "/".join(raw.split("/")[_depth(call) :]), call.request.query


def _prefix(call: Call) -> str:
    """The proxy's own path, without a slash at its end."""
    return "/".join(call.request.path.split("/")[: _depth(call)])


def _depth(call: Call) -> int:
    """How many parts of the path belong to the API: `/api/v1/namespaces/x/pods/y/proxy`, or `/api/v1/nodes/y/proxy`."""
    return 8 if call.info.namespace else 6


def _first_port(pod: Mapping[str, Any]) -> str:
    for container in pod["spec"].get("containers") or ():
        if ports := container.get("ports"):
            return str(ports[0]["containerPort"])
    return ""


def _port_number(port: str, scheme: str) -> int:
    if not port:
        return 443 if scheme == "https" else 80
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise status.BadRequest(f"invalid port {port!r}: it must be a number between 1 and 65535")
    return int(port)


def _check_address(text: str) -> None:
    """Refuse to be led to the API server's own loopback or link-local services."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise status.BadRequest("address not allowed") from None
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise status.BadRequest("address not allowed")
