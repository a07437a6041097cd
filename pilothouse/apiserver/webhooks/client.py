"""Asks webhooks: one JSON document is posted over TLS, one comes back.

A `clientConfig` names a URL or a Service; a Service is reached at the addresses of its ready endpoints, for the API server need not be
able to reach cluster addresses. Connections are kept alive per server and certificate authority. Source: apiserver
`pkg/util/webhook/client.go`, `pkg/util/proxy`.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import orjson

from pilothouse.api import gvr as kinds
from pilothouse.api import json_text
from pilothouse.api.meta import Object
from pilothouse.apiserver.decode import without_kind
from pilothouse.apiserver.objects import Objects
from pilothouse.apiserver.webhooks.failures import answer_text, connection_text
from pilothouse.kit.http.client import Answer, ConnectionFailed, HttpPool, ResponseTimeout

MAX_POOLS = 256
MAX_ANSWER_BYTES = 8 << 20
DEFAULT_TIMEOUT_S = 30.0


class CallFailed(Exception):
    """The webhook could not be asked, or answered with something that is no answer. The text is for the client."""


class Place(NamedTuple):
    """Where a webhook is. `url` is how messages name it."""

    url: str
    host: str
    port: int
    path: str
    server_name: str


class WebhookClient:
    """Belongs to one event loop; `close` lets all connections go."""

    def __init__(self, objects: Objects, rng: random.Random) -> None:
        self._objects = objects
        self._rng = rng
        self._pools: OrderedDict[tuple[str, int, str, str], HttpPool] = OrderedDict()

    async def post(
        self,
        config: Mapping[str, Any],
        document: Mapping[str, Any],
        timeout_s: float = DEFAULT_TIMEOUT_S,
        *,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Object:
        """The answer to `document` of the webhook of a `clientConfig`. Raises CallFailed."""
        # Up to its first suspension a request is worked on outside a task, where no time-out can be set.
        await asyncio.sleep(0)
        place = await self._place(config, f"?timeout={timeout_s:g}s")
        shown = f'Post "{place.url}?timeout={timeout_s:g}s"'
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._send(place, config, orjson.dumps(document), timeout_s)
        except (TimeoutError, ResponseTimeout):
            raise CallFailed(f"{shown}: context deadline exceeded") from None
        except ConnectionFailed as error:
            raise CallFailed(f"{shown}: {connection_text(error, place.host, place.port)}") from None
        except ValueError as error:
            raise CallFailed(f"unable to load root certificates: {error}") from None
        return _document(answer, shown, max_bytes)

    async def run(self) -> None:
        """Until cancelled; then let go of all connections."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()
        self._pools.clear()

    async def _send(self, place: Place, config: Mapping[str, Any], body: bytes, timeout_s: float) -> Answer:
        headers = {
            "content-type": "application/json",
            "accept": "application/json, */*",
            "user-agent": "kube-apiserver-admission",
        }
        headers["host"] = urlsplit(place.url).netloc
        pool = self._pool(place, config.get("caBundle") or "")
        target = f"{place.path}?timeout={timeout_s:g}s"
        try:
            return await pool.request("POST", target, headers=headers, body=body)
        except ConnectionFailed as error:
            if "closed the connection" not in str(error):
                raise
        # The server may have closed a kept connection just as it was taken.
        return await pool.request("POST", target, headers=headers, body=body)

    def _pool(self, place: Place, bundle: str) -> HttpPool:
        identity = (place.host, place.port, place.server_name, bundle)
        pool = self._pools.get(identity)
        if pool is None:
            pool = HttpPool(
                place.host, place.port, ssl_context=_context(bundle), server_name=place.server_name, timeout_s=60.0
            )
            self._pools[identity] = pool
            if len(self._pools) > MAX_POOLS:
                self._pools.popitem(last=False)
        self._pools.move_to_end(identity)
        return pool

    async def _place(self, config: Mapping[str, Any], query: str) -> Place:
        """Raises CallFailed, whose message names the URL with its `query`."""
        if (service := config.get("service")) is not None:
            return await self._service(service, query)
        url = config.get("url")
        if not url:
            raise CallFailed("webhook configuration must have either service or URL")
        try:
            parts = urlsplit(url)
            port = parts.port or 443
        except ValueError as error:
            raise CallFailed(f"Unparsable URL: {error}") from None
        return Place(url, parts.hostname or "", port, quote(parts.path or "/", safe="/%:@!$&'()*+,;=~"), "")

    async def _service(self, reference: Mapping[str, Any], query: str) -> Place:
        namespace, name = reference["namespace"], reference["name"]
        number, path = reference.get("port") or 443, reference.get("path") or "/"
        server_name = f"{name}.{namespace}.svc"
        url = f"https://{server_name}:{number}{path if path.startswith('/') else '/' + path}"
        service = await self._objects.get(kinds.SERVICES, namespace, name)
        if service is None:
            raise CallFailed(f'Post "{url}{query}": service "{name}" not found')
        spec = service.get("spec") or {}
        if spec.get("type") == "ExternalName":
            return Place(url, spec["externalName"], number, urlsplit(url).path, server_name)
        port = next((each for each in spec.get("ports") or () if each["port"] == number), None)
        if port is None:
            raise CallFailed(f'Post "{url}{query}": no service port {number} found for service "{name}"')
        endpoints = await self._objects.get(kinds.ENDPOINTS, namespace, name)
        addresses = [
            (address["ip"], offered["port"])
            for subset in (endpoints or {}).get("subsets") or ()
            for offered in subset.get("ports") or ()
            if offered.get("name", "") == port.get("name", "")
            for address in subset.get("addresses") or ()
        ]
        if not addresses:
            raise CallFailed(f'Post "{url}{query}": no endpoints available for service "{name}"')
        host, port_number = self._rng.choice(addresses)
        return Place(url, host, port_number, urlsplit(url).path, server_name)


def _context(bundle: str) -> ssl.SSLContext:
    """Trusts the authorities of a `caBundle`, or those of the machine where there is none. Raises ValueError."""
    if not bundle:
        return ssl.create_default_context()
    from base64 import b64decode

    try:
        context = ssl.create_default_context(cadata=b64decode(bundle).decode())
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"caBundle: {error}") from None
    # Authorities that were made without the key usage extension are as good here as they are to upstream.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def refusal_of(answer: Answer) -> str:
    """What an answer that is no success says, as upstream's client tells it."""
    text = answer.body[:1024].decode(errors="replace").strip()
    if answer.status >= 500:
        return f'an error on the server ("{text}") has prevented the request from succeeding'
    return f"the server rejected our request for an unknown reason ({answer.status} {text})"


def _document(answer: Answer, shown: str, max_bytes: int) -> Object:
    if not 200 <= answer.status <= 299:
        raise CallFailed(answer_text(answer))
    if len(answer.body) > max_bytes:
        raise CallFailed(f"{shown}: the answer is larger than {max_bytes} bytes")
    try:
        document = json_text.read(answer.body)
    except json_text.Fault as fault:
        raise CallFailed(f"couldn't get version/kind; json parse error: {fault}") from None
    if not isinstance(document, dict):
        raise CallFailed(without_kind(document))
    return document
