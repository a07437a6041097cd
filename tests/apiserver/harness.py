"""An API server in the test's own process: a store in memory, everybody allowed, no admission but what the test gives."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Mapping
from typing import Any

import orjson

from pilothouse.api import gvr
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.resource import Resource
from pilothouse.api.status import Forbidden
from pilothouse.api.user import User
from pilothouse.apiserver.allocate import ServiceLifecycle
from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.attributes import Admission, AdmitAll
from pilothouse.apiserver.cluster_addresses import Addresses
from pilothouse.apiserver.node_ports import NodePorts
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.route import RequestInfo
from pilothouse.client.client import Client
from pilothouse.client.inprocess import InProcessTransport
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.http.message import LOCAL_PEER, Request, Response
from pilothouse.store.cachers import Cachers
from pilothouse.store.memory import MemoryStore

RANGE = ipaddress.ip_network("10.96.0.0/24")


class Everybody:
    """Authenticates and allows, but for the verbs in `denied`."""

    def __init__(self) -> None:
        self.denied: set[str] = set()

    async def authenticate(self, request: Request) -> User:
        return User("tester", groups=("system:masters", "system:authenticated"))

    async def authorize(self, user: User, info: RequestInfo, annotations: dict[str, str] | None = None) -> None:
        if info.verb in self.denied:
            raise Forbidden("forbidden")


class Harness:
    """The server, a client for it, and its parts."""

    def __init__(self, admission: Admission | None = None, *, store: Any = None) -> None:
        self.clock = VirtualClock()
        self.rng = random.Random(1)
        self.store = MemoryStore(self.clock) if store is None else store
        self.everybody = everybody = Everybody()
        self.ports = NodePorts(range(30000, 30100), self.store, self.rng)
        self.services = ServiceLifecycle(Addresses([RANGE], self.registry, self.rng), self.ports)
        self.app = ApiServer(
            Cachers(self.store, self.clock),
            RESOURCES,
            authenticator=everybody,
            authorizer=everybody,
            admission=admission or AdmitAll(),
            clock=self.clock,
            rng=self.rng,
            lifecycles={gvr.SERVICES: self.services},
        )
        self.client = Client(InProcessTransport(self.app.handle))

    async def registry(self, resource: Resource) -> Registry:
        return await self.app.registry(resource)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: Any = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request as it is; a body that is no bytes is encoded as JSON."""
        encoded = body if isinstance(body, bytes) else orjson.dumps(body)
        return await self.app.handle(Request(method, path, query, dict(headers or {}), encoded, LOCAL_PEER, path))

    async def json(self, method: str, path: str, **arguments: Any) -> Any:
        """The decoded body of the answer."""
        response = await self.request(method, path, **arguments)
        assert isinstance(response.body, bytes)
        return orjson.loads(response.body)


def config_map(name: str = "a", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": data or {"k": "v"},
    }


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "x"}], **spec},
    }


def service(name: str = "s", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": [{"port": 80}], "selector": {"app": name}, **spec},
    }
