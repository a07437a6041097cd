"""Paths and methods that go with no kind, and what upstream's router says of each."""

import pytest

from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.status import BadRequest
from pilothouse.api.user import User
from pilothouse.apiserver import version
from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.attributes import AdmitAll
from pilothouse.apiserver.authz.attributes import Attributes, forbidden
from pilothouse.apiserver.discovery import Discovery
from pilothouse.apiserver.errors import NotImpersonated, error_response
from pilothouse.apiserver.route import parse_query
from pilothouse.kit.http.message import LOCAL_PEER, Request
from pilothouse.store.cachers import Cachers
from tests.apiserver.harness import Harness, config_map

NOT_FOUND = (404, "the server could not find the requested resource")
NOT_ALLOWED = (405, "the server does not allow this method on the requested resource")


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/api/v1/bindings", NOT_FOUND),
        ("GET", "/api/v1/namespaces/default/bindings", NOT_ALLOWED),
        ("GET", "/apis/authentication.k8s.io/v1/tokenreviews/x", NOT_FOUND),
        ("GET", "/apis/authentication.k8s.io/v1/tokenreviews", NOT_ALLOWED),
        ("POST", "/apis/authorization.k8s.io/v1/localsubjectaccessreviews", NOT_FOUND),
        ("POST", "/api/v1/configmaps", NOT_ALLOWED),
        ("POST", "/api/v1/namespaces/default/configmaps/a", NOT_ALLOWED),
        ("PUT", "/api/v1/namespaces/default/configmaps", NOT_ALLOWED),
        ("POST", "/api/v1/watch/namespaces/default/configmaps", NOT_ALLOWED),
        ("DELETE", "/api/v1/watch/namespaces/default/configmaps/a", NOT_ALLOWED),
        ("GET", "/api/v1/watch/componentstatuses", NOT_FOUND),
        ("GET", "/api/v1/watch/namespaces/default/pods/x/status", NOT_FOUND),
        ("GET", "/api/v1/proxy/nodes/x", NOT_FOUND),
        ("GET", "/api/v1/namespaces/default/namespaces", NOT_FOUND),
        ("GET", "/api/v1/namespaces/default/nodes", NOT_FOUND),
        ("GET", "/api/v1/namespaces/default/pods/x/status/more", NOT_FOUND),
        ("GET", "/api/v1/configmaps/a", NOT_FOUND),
        (
            "GET",
            "/api/v1/componentstatuses?watch=1",
            (405, 'watch is not supported on resources of kind "componentstatuses"'),
        ),
        ("GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews?watch=1", NOT_ALLOWED),
    ],
)
async def test_what_the_router_says(method, path, answer):
    path, _, query = path.partition("?")
    found = await Harness().json(method, path, query=query, body=config_map() if method in ("POST", "PUT") else b"")
    assert (found["code"], found["message"]) == answer


async def test_a_path_that_says_to_watch_nothing():
    response = await Harness().request("GET", "/api/v1/watch/")
    assert response.status == 500
    assert response.body == (
        b'Internal Server Error: "/api/v1/watch/": failed to create RequestInfo: '
        b"unable to determine kind and namespace from url, /api/v1/watch/\n"
    )


async def test_a_path_that_begins_with_two_slashes_is_none_of_the_api():
    response = await Harness().request("GET", "//api/v1/pods")
    assert (response.status, response.body) == (404, b"404 page not found\n")


def test_a_refusal_is_not_to_be_sniffed():
    error = forbidden(Attributes(User("eve"), "get", "", "v1", resource="pods"))
    for each in (error, NotImpersonated("requested")):
        assert error_response(each).headers["x-content-type-options"] == "nosniff"
    assert "x-content-type-options" not in error_response(BadRequest("x")).headers


def test_parameters_that_cannot_be_read_are_left_out():
    assert dict(parse_query("a=%zz&b=1;c=2&d=%41&e=a+b&d=x")) == {"d": "A", "e": "a b"}


@pytest.mark.parametrize("path", ["/version", "/api", "/apis/apps/v1"])
async def test_what_is_routed_is_only_read_and_negotiated(served, path):
    assert (await served("POST", path)).status == 405
    assert (await served("GET", path, accept="text/html")).status == 406


@pytest.mark.parametrize("path", ["/", "/apis/apps"])
async def test_other_paths_take_any_method(served, path):
    assert (await served("OPTIONS", path)).status == 200


async def test_discovery_has_no_tables(served):
    response = await served("GET", "/apis/apps", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert response.status == 406
    assert b"only the following media types are accepted" in response.body
    aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert (await served("GET", "/apis", accept=aggregated)).headers["cache-control"] == "public"


@pytest.fixture
def served():
    harness = Harness()
    discovery = Discovery(RESOURCES, server_address="x")
    paths = {"/version": version.serve, "/": lambda call: discovery.index(call, ())}
    paths |= dict.fromkeys(("/api/", "/apis/", *discovery.paths), discovery.serve)
    everybody = harness.everybody
    app = ApiServer(
        Cachers(harness.store, harness.clock),
        RESOURCES,
        authenticator=everybody,
        authorizer=everybody,
        admission=AdmitAll(),
        clock=harness.clock,
        rng=harness.rng,
        paths=paths,
    )

    async def send(method, path, **headers):
        return await app.handle(Request(method, path, "", headers, b"", LOCAL_PEER, path))

    return send


@pytest.mark.parametrize("token", ["bad", "abc"])
async def test_a_token_that_is_no_json(token):
    found = await Harness().json("GET", "/api/v1/configmaps", query=f"continue={token}")
    start = "invalid continue token: continue key is not valid: "
    assert found["message"].removeprefix(start) in (
        "invalid character 'm' looking for beginning of value",
        "invalid character 'i' looking for beginning of value",
    )


async def test_an_empty_list_of_metadata_has_no_items():
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    found = await Harness().json("GET", "/api/v1/configmaps", headers={"accept": accept})
    assert found["items"] is None
