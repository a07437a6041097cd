"""The server behind an APIService: where it is, how it is trusted, and how a request goes on to it.

The user travels in `X-Remote-*` headers, which the extension server believes because of the front-proxy certificate that comes with them.
Source: kube-aggregator `pkg/apiserver/handler_proxy.go`, `pkg/controllers/status/remote`, client-go `transport/round_trippers.go`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pilothouse.api import gvr
from pilothouse.api.meta import Object, condition_of
from pilothouse.api.status import ServiceUnavailable, StatusError
from pilothouse.api.user import User
from pilothouse.api.views.endpoint_slice import SERVICE_NAME_LABEL, is_ready
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.objects import Objects
from pilothouse.apiserver.proxy.backend import fetch, passed_on, tunnel
from pilothouse.kit.http.fields import Fields
from pilothouse.kit.http.message import Response
from pilothouse.kit.http.tunnel import HOP_HEADERS, Target, wants_upgrade

_SAFE = "/:@!$&'()*+,;=~%"
_NAME_BYTES = "!#$&'*+-.^_`|~"
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Credentials:
    """The files of the certificate by which extension servers know this one, PEM."""

    certificate: Path
    key: Path


class Unresolvable(Exception):
    """The Service leads nowhere; the text says why."""


@dataclass(frozen=True)
class Backend:
    """The server of one APIService as its spec names it."""

    service: Mapping[str, Any]
    """The APIService."""
    credentials: Credentials | None

    @property
    def group(self) -> str:
        return str(self.service["spec"].get("group", ""))

    @property
    def version(self) -> str:
        return str(self.service["spec"]["version"])

    @property
    def path(self) -> str:
        """Under which all its requests are."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def reference(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.service["spec"]["service"]
        return found

    @property
    def port(self) -> int:
        return int(self.reference.get("port") or 443)

    @property
    def server_name(self) -> str:
        return f"{self.reference['name']}.{self.reference['namespace']}.svc"

    @property
    def is_available(self) -> bool:
        condition = condition_of((self.service.get("status") or {}).get("conditions"), "Available")
        return condition is not None and condition["status"] == "True"

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Raises ValueError for a bundle that holds no certificates, OSError for credentials that cannot be read."""
        spec = self.service["spec"]
        if spec.get("insecureSkipTLSVerify"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context = _trusting(spec.get("caBundle") or "")
        if self.credentials is not None:
            context.load_cert_chain(self.credentials.certificate, self.credentials.key)
        return context

    def target(self, address: Address, path: str, query: str = "") -> Target:
        return Target(*address, path, query, self.tls, self.server_name)

    async def forward(self, call: Call, objects: Objects, rng: random.Random) -> Response:
        """Pass a request on. Raises ServiceUnavailable, and StatusError with code 500 for TLS settings that cannot be used."""
        if not self.is_available:
            raise ServiceUnavailable("service unavailable")
        # Up to its first suspension a request is worked on outside a task, where no time-out can be set.
        await asyncio.sleep(0)
        try:
            addresses = await resolve(objects, self.reference, self.port)
        except Unresolvable as error:
            raise ServiceUnavailable("service unavailable") from error
        request = call.request
        path = request.raw_path.partition("?")[0] or quote(request.path, _SAFE)
        try:
            target = self.target(rng.choice(addresses), path, request.query)
        except (ValueError, OSError) as error:
            raise StatusError(str(error), code=500, reason="InternalError") from error
        headers = identified(passed_on(request.headers), call.user, request.peer.address)
        if wants_upgrade(request.headers):
            return await tunnel(request.method, target, headers, request.body, upgrade=request.headers["upgrade"])
        code, answered, body = await fetch(request.method, target, headers, request.body)
        return Response(code, {name: value for name, value in answered.items() if name not in HOP_HEADERS}, body)


def identified(headers: Mapping[str, str], user: User, client: str = "") -> Fields:
    """`headers` with the user in them; a group and a value of an extra each have a line of their own."""
    lines = list(headers.items())
    if client:
        before = headers.get("x-forwarded-for")
        lines = [line for line in lines if line[0] != "x-forwarded-for"]
        lines.append(("x-forwarded-for", f"{before}, {client}" if before else client))
    lines.append(("x-remote-user", user.name))
    if user.uid:
        lines.append(("x-remote-uid", user.uid))
    lines += (("x-remote-group", group) for group in user.groups)
    for key, values in user.extra.items():
        lines += ((f"x-remote-extra-{quote(key, safe=_NAME_BYTES)}", value) for value in values)
    return Fields(lines)


async def resolve(objects: Objects, reference: Mapping[str, Any], port: int) -> Sequence[Address]:
    """The addresses of the ready endpoints of a Service's port; at least one. Raises Unresolvable."""
    namespace, name = reference["namespace"], reference["name"]
    service = await objects.get(gvr.SERVICES, namespace, name)
    if service is None:
        raise Unresolvable(f'service "{name}" not found')
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return [(spec["externalName"], port)]
    offered = next((each for each in spec.get("ports") or () if each["port"] == port), None)
    if offered is None:
        raise Unresolvable(f'no service port {port} found for service "{name}"')
    addresses = [
        (address, slice_port["port"])
        for each in await slices_of(objects, namespace, name)
        for slice_port in each.get("ports") or ()
        if slice_port.get("name", "") == offered.get("name", "") and slice_port.get("port")
        for endpoint in each.get("endpoints") or ()
        if is_ready(endpoint)
        for address in endpoint.get("addresses") or ()
    ]
    if not addresses:
        raise Unresolvable(f'no endpoints available for service "{name}"')
    return list(dict.fromkeys(addresses))


async def slices_of(objects: Objects, namespace: str, service: str) -> list[Object]:
    """The EndpointSlices of a Service."""
    return [
        each
        for each in await objects.list(gvr.ENDPOINT_SLICES, namespace)
        if (each["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL) == service
    ]


def _trusting(bundle: str) -> ssl.SSLContext:
    """Trusts the authorities of a `caBundle`, or those of the machine where there is none. Raises ValueError."""
    if not bundle:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
    except (ssl.SSLError, binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"unable to load root certificates: {error}") from None
    # Authorities that were made without the key usage extension are as good here as they are to upstream.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
