"""Whether the server of an APIService can be used: the condition Available, and what the server said that it serves.

Source: kube-aggregator `pkg/controllers/status/remote/remote_available_controller.go`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pilothouse.api import gvr
from pilothouse.api.meta import Object
from pilothouse.api.status import StatusError
from pilothouse.api.user import User
from pilothouse.api.views.endpoint_slice import is_ready
from pilothouse.apiserver.aggregation.backend import Address, Backend, Unresolvable, identified, resolve, slices_of
from pilothouse.apiserver.objects import Objects
from pilothouse.apiserver.proxy.backend import fetch, read_some
from pilothouse.kit.http.client import ConnectionFailed

CHECK_TIMEOUT_S = 5.0
ATTEMPTS = 5
MAX_ANSWER_BYTES = 8 << 20
AGGREGATOR = User("system:kube-aggregator", groups=("system:masters",))
LOCAL: Mapping[str, str] = {
    "type": "Available",
    "status": "True",
    "reason": "Local",
    "message": "Local APIServices are always available",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `resources` is the server's APIResourceList; None if it was not reached."""

    condition: Mapping[str, str]
    resources: Object | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the server itself did not answer: nobody tells when it will."""
        return self.condition["reason"] == "FailedDiscoveryCheck"


def unavailable(reason: str, message: str) -> Finding:
    return Finding({"type": "Available", "status": "False", "reason": reason, "message": message})


async def check(backend: Backend, objects: Objects) -> Finding:
    """Look for the Service and its endpoints, and ask the server for its resources."""
    problem = await service_problem(backend, objects)
    if problem is not None:
        return problem
    try:
        addresses = await resolve(objects, backend.reference, backend.port)
    except Unresolvable as error:
        return unavailable("FailedDiscoveryCheck", str(error))
    return await ask_any(backend, addresses[:ATTEMPTS])


async def service_problem(backend: Backend, objects: Objects) -> Finding | None:
    """What keeps the Service from being used, as far as its objects tell."""
    namespace, name = backend.reference["namespace"], backend.reference["name"]
    service = await objects.get(gvr.SERVICES, namespace, name)
    if service is None:
        return unavailable("ServiceNotFound", f'service/{name} in "{namespace}" is not present')
    spec = service.get("spec") or {}
    if spec.get("type", "ClusterIP") != "ClusterIP":
        return None
    port = next((each for each in spec.get("ports") or () if each["port"] == backend.port), None)
    if port is None:
        text = f'service/{name} in "{namespace}" is not listening on port {backend.port}'
        return unavailable("ServicePortError", text)
    slices = await slices_of(objects, namespace, name)
    if not slices:
        return unavailable("EndpointsNotFound", f'cannot find endpointslices for service/{name} in "{namespace}"')
    port_name = port.get("name", "")
    if not any(_has_endpoint(each, port_name) for each in slices):
        text = f'endpointslices for service/{name} in "{namespace}" have no addresses with port name "{port_name}"'
        return unavailable("MissingEndpoints", text)
    return None


def _has_endpoint(endpoint_slice: Mapping[str, Any], port_name: str) -> bool:
    return any(is_ready(endpoint) for endpoint in endpoint_slice.get("endpoints") or ()) and any(
        port.get("name", "") == port_name and port.get("port") for port in endpoint_slice.get("ports") or ()
    )


async def ask_any(backend: Backend, addresses: Sequence[Address]) -> Finding:
    """Ask all at once; one good answer is enough."""
    tasks = [asyncio.ensure_future(_ask(backend, address)) for address in addresses]
    failure = unavailable("FailedDiscoveryCheck", "no endpoint was asked")
    try:
        for done in asyncio.as_completed(tasks):
            finding = await done
            if finding.resources is not None:
                return finding
            failure = finding
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return failure


async def _ask(backend: Backend, address: Address) -> Finding:
    url = f"https://{address[0]}:{address[1]}{backend.path}"
    headers = identified({"accept": "application/json"}, AGGREGATOR)
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            code, _, body = await fetch("GET", backend.target(address, backend.path), headers)
            text = await read_some(body, MAX_ANSWER_BYTES)
    except TimeoutError:
        return _failed(url, f'Get "{url}": context deadline exceeded')
    except StatusError as error:
        return _failed(url, f'Get "{url}": {error.message}')
    except (ConnectionFailed, ValueError, OSError) as error:
        return _failed(url, f'Get "{url}": {error}')
    if not 200 <= code < 300:
        return _failed(url, f"bad status from {url}: {code}")
    passed = {"type": "Available", "status": "True", "reason": "Passed", "message": "all checks passed"}
    return Finding(passed, _resource_list(text))


def _failed(url: str, why: str) -> Finding:
    return unavailable("FailedDiscoveryCheck", f"failing or missing response from {url}: {why}")


def _resource_list(text: bytes) -> Object:
    """The APIResourceList of an answer; an empty one for an answer that is none."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("resources", []), list) else {}
