"""A group that an extension server serves, seen through the API server."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest

from pilothouse.api import gvr
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.status import NotFound
from pilothouse.apiserver.aggregation.aggregator import Aggregator
from pilothouse.apiserver.aggregation.backend import Backend, Credentials
from pilothouse.apiserver.aggregation.description import Described
from pilothouse.apiserver.discovery import Discovery
from pilothouse.apiserver.objects import CachedObjects, MemoryObjects
from pilothouse.apiserver.openapi.server import OpenApi
from pilothouse.apiserver.proxy.backend import read_some
from pilothouse.kit.clock import SystemClock
from pilothouse.kit.pki import Authority, Certificate, Pki
from tests.apiserver.harness import Harness

RESOURCE_LIST = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": "wardle.example.com/v1alpha1",
    "resources": [
        {
            "name": "flunders",
            "singularName": "flunder",
            "namespaced": True,
            "kind": "Flunder",
            "verbs": ["get", "list"],
        },
        {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
    ],
}
NAME = "v1alpha1.wardle.example.com"
PREFIX = "/apis/wardle.example.com/v1alpha1"


class Extension:
    """A server that records the heads of its requests; an upgraded connection echoes."""

    def __init__(self, pki: Pki) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(pki.certificate_path("server"), pki.key_path("server"))
        self._tls.load_verify_locations(pki.certificate_path("front"))
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self.heads: list[str] = []
        self.code = 200
        self.described: object = {}
        self.documents: dict[str, Any] = {}
        self.etag = ""
        self.asked: list[str] = []

    async def __aenter__(self) -> Extension:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line = head.split("\r\n")[0]
            if "upgrade: " in head:
                self.heads.append(head)
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: Upgrade\r\n\r\n")
                writer.write((await reader.read(100)).upper())
                return
            path = line.split(" ")[1]
            documents = {"/openapi/v3": {"paths": self.described}, **self.documents}
            known = {PREFIX: RESOURCE_LIST, **documents}
            body = orjson.dumps(known.get(path.partition("?")[0], {"path": path}))
            code, etag = self.code, self.etag.encode()
            if path.startswith("/openapi/"):
                self.asked.append(path)
                code = 404 if path == "/openapi/v2" and path not in documents else self.code
                if etag and f"if-none-match: {self.etag}\r\n" in head:
                    code, body = 304, b""
            elif path != PREFIX:
                self.heads.append(head)
            writer.write(b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\netag: %b\r\n" % (code, etag))
            writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
        finally:
            writer.close()


class World:
    def __init__(self, pki: Pki, extension: Extension) -> None:
        self.harness = Harness()
        self.pki = pki
        self.extension = extension
        self.discovery = Discovery(RESOURCES, server_address="x")
        self.openapi = OpenApi(RESOURCES)
        self.is_described = asyncio.Event()
        app = self.harness.app
        by_gvr = {resource.gvr: resource for resource in RESOURCES}
        self.aggregator = Aggregator(
            app,
            CachedObjects(app.cachers, by_gvr.__getitem__),
            self.discovery.serve_remote,
            self.harness.clock,
            self.harness.rng,
            describe=self.describe,
            credentials=Credentials(pki.certificate_path("front-proxy-client"), pki.key_path("front-proxy-client")),
        )
        for path in ("/apis", "/apis/"):
            app.paths[path] = self.discovery.serve
        for path in ("/openapi/v2", "/openapi/v3", "/openapi/v3/"):
            app.paths[path] = self.openapi.serve

    def describe(self, described: Sequence[Described]) -> None:
        self.openapi.serve_remote(described)
        self.is_described.set()

    async def described(self) -> dict[str, Any]:
        """The paths of the OpenAPI index once they have been told again."""
        await asyncio.wait_for(self.is_described.wait(), 10)
        self.is_described.clear()
        return dict((await self.harness.json("GET", "/openapi/v3"))["paths"])

    def service(self, port: int | None = None) -> dict[str, Any]:
        spec = {"type": "ExternalName", "externalName": "localhost"}
        if port is not None:
            spec = {"type": "ClusterIP", "ports": [{"port": port}]}
        return {"metadata": {"name": "api", "namespace": "wardle"}, "spec": spec}

    def api_service(self, **spec: Any) -> dict[str, Any]:
        bundle = base64.b64encode(self.pki.certificate_path("ca").read_bytes()).decode()
        return {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": NAME},
            "spec": {
                "group": "wardle.example.com",
                "version": "v1alpha1",
                "groupPriorityMinimum": 2000,
                "versionPriority": 200,
                "caBundle": bundle,
                "service": {"namespace": "wardle", "name": "api", "port": self.extension.port},
                **spec,
            },
        }

    async def condition(self, reason: str, name: str = NAME) -> dict[str, Any]:
        """The condition Available once it has `reason`."""
        watch = self.harness.client.watch(gvr.API_SERVICES, field_selector=f"metadata.name={name}")
        async with asyncio.timeout(10), watch as events:
            async for event in events:
                for condition in (event.obj.get("status") or {}).get("conditions") or ():
                    if condition["reason"] == reason:
                        return dict(condition)
        raise AssertionError("the watch ended")

    async def groups(self, accept: str = "") -> Any:
        return await self.harness.json("GET", "/apis", headers={"accept": accept})


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    made = Pki(tmp_path_factory.mktemp("pki"), SystemClock())
    made.ensure(
        [
            Authority("ca", "extension-ca"),
            Authority("front", "front-proxy-ca"),
            Certificate("server", "api", usages=("server",), dns_names=("api.wardle.svc",)),
            Certificate("front-proxy-client", "front-proxy-client", authority="front"),
        ]
    )
    return made


@pytest.fixture
async def world(pki: Pki) -> AsyncIterator[World]:
    async with Extension(pki) as extension:
        world = World(pki, extension)
        await world.aggregator.open()
        task = asyncio.ensure_future(world.aggregator.run())
        try:
            yield world
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_requests_reach_the_extension_server_with_their_user(world: World) -> None:
    client = world.harness.client
    await client.create(gvr.SERVICES, world.service())
    await client.create(gvr.API_SERVICES, world.api_service())
    assert (await world.condition("Passed"))["message"] == "all checks passed"
    path = f"{PREFIX}/namespaces/a/flunders/b%2Fc"
    headers = {"x-remote-user": "mallory", "authorization": "Bearer x", "x-kept": "y"}
    response = await world.harness.request("GET", path, query="x=1", headers=headers)
    assert response.status == 200
    assert not isinstance(response.body, bytes)
    assert orjson.loads(b"".join([chunk async for chunk in response.body])) == {"path": f"{path}?x=1"}
    head = world.extension.heads[-1]
    assert "x-remote-user: tester\r\n" in head
    assert "x-remote-group: system:masters\r\nx-remote-group: system:authenticated\r\n" in head
    assert "x-kept: y\r\n" in head
    assert "mallory" not in head
    assert "authorization" not in head


async def test_discovery_names_the_group(world: World) -> None:
    await world.harness.client.create(gvr.SERVICES, world.service())
    await world.harness.client.create(gvr.API_SERVICES, world.api_service())
    await world.condition("Passed")
    assert (await world.groups())["groups"][-1] == {
        "name": "wardle.example.com",
        "versions": [{"groupVersion": "wardle.example.com/v1alpha1", "version": "v1alpha1"}],
        "preferredVersion": {"groupVersion": "wardle.example.com/v1alpha1", "version": "v1alpha1"},
    }
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    (version,) = (await world.groups(accept))["items"][-1]["versions"]
    assert version["freshness"] == "Current"
    (resource,) = version["resources"]
    assert resource["responseKind"] == {"group": "wardle.example.com", "version": "v1alpha1", "kind": "Flunder"}
    assert [each["subresource"] for each in resource["subresources"]] == ["status"]
    await world.harness.client.delete(gvr.API_SERVICES, "", NAME)
    assert (await world.groups())["groups"][-1]["name"] != "wardle.example.com"
    assert (await world.harness.request("GET", f"{PREFIX}/flunders")).status == 404


async def test_openapi_names_the_documents_of_extension_servers_and_passes_them_on(world: World) -> None:
    client, json = world.harness.client, world.harness.json
    name, url = PREFIX.strip("/"), f"/openapi/v3{PREFIX}?hash=ABC"
    world.extension.described = {name: {"serverRelativeURL": url}, "apis/apps/v1": {"serverRelativeURL": "/other"}}
    own = (await json("GET", "/openapi/v3"))["paths"]
    assert (await world.harness.request("GET", f"/openapi/v3{PREFIX}")).status == 404
    await client.create(gvr.SERVICES, world.service())
    await client.create(gvr.API_SERVICES, world.api_service())
    assert await world.described() == {**own, name: {"serverRelativeURL": url}}
    response = await world.harness.request("GET", f"/openapi/v3{PREFIX}", query="hash=ABC")
    assert orjson.loads(await read_some(response.body)) == {"path": url}
    world.extension.described = "nothing of use"
    await world.harness.clock.advance(31)
    assert await world.described() == own
    world.extension.described = {name: {"serverRelativeURL": url}}
    await world.harness.clock.advance(31)
    assert name in await world.described()
    await client.delete(gvr.API_SERVICES, "", NAME)
    assert await world.described() == own


async def test_what_is_missing_is_told(world: World) -> None:
    client = world.harness.client
    await client.create(gvr.API_SERVICES, world.api_service())
    assert (await world.condition("ServiceNotFound"))["message"] == 'service/api in "wardle" is not present'
    answer = await world.harness.request("GET", f"{PREFIX}/flunders")
    assert answer.status == 503
    await client.create(gvr.SERVICES, world.service(1))
    text = f'service/api in "wardle" is not listening on port {world.extension.port}'
    assert (await world.condition("ServicePortError"))["message"] == text
    await client.delete(gvr.SERVICES, "wardle", "api")
    await client.create(gvr.SERVICES, world.service(world.extension.port))
    text = 'cannot find endpointslices for service/api in "wardle"'
    assert (await world.condition("EndpointsNotFound"))["message"] == text
    endpoints = {
        "metadata": {"name": "api-1", "namespace": "wardle", "labels": {"kubernetes.io/service-name": "api"}},
        "addressType": "IPv4",
        "endpoints": [],
        "ports": [{"port": 443}],
    }
    await client.create(gvr.ENDPOINT_SLICES, endpoints)
    text = 'endpointslices for service/api in "wardle" have no addresses with port name ""'
    assert (await world.condition("MissingEndpoints"))["message"] == text


async def test_a_server_that_fails_is_stale_and_comes_back(world: World) -> None:
    client = world.harness.client
    await client.create(gvr.SERVICES, world.service())
    await client.create(gvr.API_SERVICES, world.api_service())
    await world.condition("Passed")
    world.extension.code = 500
    await world.harness.clock.advance(31)
    assert "bad status from https://localhost" in (await world.condition("FailedDiscoveryCheck"))["message"]
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    (version,) = (await world.groups(accept))["items"][-1]["versions"]
    assert (version["freshness"], len(version["resources"])) == ("Stale", 1)
    world.extension.code = 200
    await world.harness.clock.advance(31)
    await world.condition("Passed")


async def test_a_certificate_of_another_authority_is_refused(world: World, pki: Pki) -> None:
    await world.harness.client.create(gvr.SERVICES, world.service())
    other = base64.b64encode(pki.certificate_path("front").read_bytes()).decode()
    await world.harness.client.create(gvr.API_SERVICES, world.api_service(caBundle=other))
    assert "certificate verify failed" in (await world.condition("FailedDiscoveryCheck"))["message"].lower()


async def test_a_connection_may_leave_http(world: World) -> None:
    await world.harness.client.create(gvr.SERVICES, world.service())
    await world.harness.client.create(gvr.API_SERVICES, world.api_service())
    await world.condition("Passed")
    headers = {"connection": "Upgrade", "upgrade": "echo"}
    answer = await world.harness.request("GET", f"{PREFIX}/flunders", headers=headers)
    assert answer.status == 101
    assert answer.takeover is not None
    assert "x-remote-user: tester" in world.extension.heads[-1]
    reader = asyncio.StreamReader()
    reader.feed_data(b"hello")
    got = bytearray()

    class Sink:
        def write(self, data: bytes) -> None:
            got.extend(data)

        async def drain(self) -> None:
            return

        def close(self) -> None:
            return

    sink: Any = Sink()
    await asyncio.wait_for(answer.takeover(reader, sink), 10)
    assert got == b"HELLO"


async def test_groups_of_this_server_have_an_api_service(world: World) -> None:
    client = world.harness.client
    assert (await world.condition("Local", "v1.apps"))["status"] == "True"
    apps = await client.get(gvr.API_SERVICES, "", "v1.apps")
    assert apps["spec"]["groupPriorityMinimum"] == 17800
    assert (await world.condition("Local", "v1."))["status"] == "True"
    await client.delete(gvr.API_SERVICES, "", "v1.apps")
    await world.condition("Local", "v1.apps")
    with pytest.raises(NotFound):
        await client.get(gvr.API_SERVICES, "", "v9.apps")


def flunders(text: str) -> dict[str, Any]:
    reference = {"$ref": "#/definitions/Flunder"}
    meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    definitions = {
        "Flunder": {
            "type": "object",
            "description": text,
            "properties": {"metadata": {"$ref": f"#/definitions/{meta}"}},
        },
        meta: {"type": "object", "description": "of another time"},
        "Unused": {"type": "object"},
    }
    get = {"get": {"responses": {"200": {"description": "OK", "schema": reference}}}}
    return {"swagger": "2.0", "paths": {f"{PREFIX}/flunders": get, "/version/": get}, "definitions": definitions}


async def test_documents_of_the_extension_server_become_part_of_ours(world: World) -> None:
    client, extension = world.harness.client, world.extension
    name = PREFIX.removeprefix("/")
    extension.etag = '"one"'
    extension.documents = {
        "/openapi/v2": flunders("a flunder"),
        "/openapi/v3": {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash=X"}, "version": {}}},
        f"/openapi/v3/{name}": {"openapi": "3.0.0", "said": "by the extension server"},
    }
    before = await world.harness.request("GET", "/openapi/v2", headers={"accept": "application/json"})
    await client.create(gvr.SERVICES, world.service())
    await client.create(gvr.API_SERVICES, world.api_service())
    async with asyncio.timeout(10):
        await world.is_described.wait()
    response = await world.harness.request("GET", "/openapi/v2", headers={"accept": "application/json"})
    assert response.headers["etag"] != before.headers["etag"]
    assert isinstance(response.body, bytes)
    document = orjson.loads(response.body)
    assert f"{PREFIX}/flunders" in document["paths"]
    assert document["paths"]["/version/"]["get"]["operationId"] == "getCodeVersion"
    assert "Unused" not in document["definitions"]
    meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta_v2"
    assert document["definitions"]["Flunder"]["properties"]["metadata"] == {"$ref": f"#/definitions/{meta}"}
    assert document["definitions"][meta]["description"] == "of another time"
    index = await world.harness.json("GET", "/openapi/v3")
    assert index["paths"][name] == {"serverRelativeURL": f"/openapi/v3/{name}?hash=X"}
    passed = await world.harness.request("GET", f"/openapi/v3/{name}", query="hash=X")
    assert not isinstance(passed.body, bytes)
    assert orjson.loads(b"".join([chunk async for chunk in passed.body]))["said"] == "by the extension server"
    assert extension.asked[-1] == f"/openapi/v3/{name}?hash=X"
    packed = await world.harness.request(
        "GET", "/openapi/v2", headers={"accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}
    )
    assert packed.status == 200
    await client.delete(gvr.API_SERVICES, "", NAME)
    after = await world.harness.request("GET", "/openapi/v2", headers={"accept": "application/json"})
    assert after.headers["etag"] == before.headers["etag"]
    assert name not in (await world.harness.json("GET", "/openapi/v3"))["paths"]


async def test_a_document_that_is_none_spoils_nothing(world: World) -> None:
    client, extension = world.harness.client, world.extension
    broken = flunders("x")
    broken["paths"][f"{PREFIX}/flunders"]["parameters"] = [{"nothing": "of the kind"}]
    extension.documents = {"/openapi/v2": broken}
    await client.create(gvr.SERVICES, world.service())
    await client.create(gvr.API_SERVICES, world.api_service())
    async with asyncio.timeout(10):
        await world.is_described.wait()
    for accept in ("application/json", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"):
        assert (await world.harness.request("GET", "/openapi/v2", headers={"accept": accept})).status == 200


async def test_a_request_that_is_no_task_yet_is_passed_on(world: World) -> None:
    """The server works on a request outside a task up to its first suspension."""
    service = world.api_service()
    service["status"] = {"conditions": [{"type": "Available", "status": "True"}]}
    backend = Backend(service, None)
    started: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    forwarding = backend.forward(None, MemoryObjects([]), world.harness.rng)  # type: ignore[arg-type]

    def begin() -> None:
        try:
            started.set_result(forwarding.send(None))
        except BaseException as error:
            started.set_exception(error)

    asyncio.get_running_loop().call_soon(begin)
    assert await started is None
    forwarding.close()
