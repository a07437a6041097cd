import gzip
import re
from pathlib import Path

import orjson
import pytest

from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.schema.openapi import definitions
from pilothouse.api.schema.types import DATA, catalog
from pilothouse.api.user import User
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.openapi import OpenApi
from pilothouse.apiserver.route import parse_query, request_info
from pilothouse.kit.http.message import LOCAL_PEER, Request


@pytest.fixture(scope="module")
def openapi():
    return OpenApi(RESOURCES)


async def get(openapi, path, **headers):
    path, _, query = path.partition("?")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request("GET", path, query, named, b"", LOCAL_PEER, raw_path=path)
    return await openapi.serve(
        Call(request, request_info("GET", path, parse_query(query)), parse_query(query), User("alice"))
    )


async def test_the_index_leads_to_documents(openapi):
    index = orjson.loads((await get(openapi, "/openapi/v3")).body)["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/autoscaling/v1", "apis/autoscaling/v2"} <= set(index)
    response = await get(openapi, index["apis/apps/v1"]["serverRelativeURL"], accept="application/json")
    document = orjson.loads(response.body)
    assert "immutable" in response.headers["cache-control"]
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["operationId"] == "patchAppsV1NamespacedDeployment"
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}
    assert "io.k8s.api.core.v1.PodSpec" in document["components"]["schemas"]


@pytest.mark.parametrize("path", ["/openapi/v2", "/openapi/v3/api/v1", "/openapi/v3/apis/policy/v1"])
async def test_documents_are_whole(openapi, path):
    body = (await get(openapi, path)).body
    document = orjson.loads(body)
    known = document["definitions"] if path.endswith("v2") else document["components"]["schemas"]
    referred = set(re.findall(rb'"#/(?:definitions|components/schemas)/([^"]+)"', body))
    assert {name.decode() for name in referred} <= set(known)
    identifiers = re.findall(rb'"operationId":"(\w+)"', body)
    assert len(identifiers) == len(set(identifiers))


async def test_what_explain_reads(openapi):
    schemas = orjson.loads((await get(openapi, "/openapi/v3/api/v1")).body)["components"]["schemas"]
    pod = schemas["io.k8s.api.core.v1.Pod"]
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "kind": "Pod", "version": "v1"}]
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert "List of containers" in containers["description"]


async def test_the_words_that_upstreams_own_test_looks_for(openapi):
    body = (await get(openapi, "/openapi/v2")).body
    for words in (b"list of returned", b"List of services", b"Watch for changes to the described resources"):
        assert words in body


def test_what_strings_may_say() -> None:
    """Of a list of them, its elements; the empty string among them."""
    names = ("io.k8s.api.core.v1.PodSpec", "io.k8s.api.core.v1.Capabilities", "io.k8s.api.core.v1.ServiceSpec")
    for version in (2, 3):
        found = definitions(version, names)
        restart = found[names[0]]["properties"]["restartPolicy"]
        assert restart["enum"] == ["Always", "Never", "OnFailure"]
        assert restart["description"].endswith('values:\n - `"Always"`\n - `"Never"`\n - `"OnFailure"`')
        families = found[names[2]]["properties"]["ipFamilies"]
        assert "enum" not in families
        assert families["items"]["enum"] == ["", "IPv4", "IPv6"]
        assert "enum" not in found[names[1]]["properties"]["add"]["items"]


def test_every_enumeration_is_of_a_field_that_is_there() -> None:
    described = orjson.loads((DATA / "descriptions.json").read_bytes())
    told = {name: parts[2] for name, parts in described.items() if len(parts) > 2}
    assert len(told) > 50
    structure = catalog()
    for name, enums in told.items():
        assert enums.keys() <= structure.packed(name)["fields"].keys()
    text = (Path(__file__).parents[3] / "tools" / "enums.txt").read_text()
    assert sum(map(len, told.values())) == len([line for line in text.splitlines() if ": " in line and line[0] != "#"])


async def test_a_client_that_has_it_is_not_sent_it(openapi):
    first = await get(openapi, "/openapi/v2", accept_encoding="gzip")
    assert first.headers["content-encoding"] == "gzip"
    assert gzip.decompress(first.body).startswith(b'{"swagger":"2.0"')
    again = await get(openapi, "/openapi/v2", if_none_match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")


async def test_an_old_hash_leads_to_the_new_one(openapi):
    response = await get(openapi, "/openapi/v3/api/v1?hash=OLD")
    assert response.status == 301
    assert (await get(openapi, response.headers["location"])).status == 200


async def test_refusals(openapi):
    unknown = await get(openapi, "/openapi/v3/apis/none/v1")
    assert (unknown.status, unknown.body) == (404, b"")
    for path in ("/openapi/v2", "/openapi/v3/api/v1"):
        response = await get(openapi, path, accept="application/vnd.kubernetes.protobuf")
        assert (response.status, response.body) == (406, b"")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "protobuf"),
        ("application/com.github.proto-openapi.spec.v2.v1.0+protobuf", "protobuf"),
        ("application/com.github.proto-openapi.spec.v2.v1.0+protobuf;q=0.5, application/json", "json"),
        ("text/plain, */*", "json"),
    ],
)
async def test_openapi_2_in_the_wanted_form(openapi, accept, content_type):
    response = await get(openapi, "/openapi/v2", accept=accept)
    assert response.headers["content-type"].endswith(content_type)
    assert response.body.startswith(b"{" if content_type == "json" else b"\n\x032.0")


async def test_paths_that_belong_to_no_kind_have_documents(openapi):
    index = orjson.loads((await get(openapi, "/openapi/v3")).body)["paths"]
    ids = {
        ".well-known/openid-configuration": "getServiceAccountIssuerOpenIDConfiguration",
        "api": "getCoreAPIVersions",
        "apis": "getAPIVersions",
        "apis/rbac.authorization.k8s.io": "getRbacAuthorizationAPIGroup",
        "openid/v1/jwks": "getServiceAccountIssuerOpenIDKeyset",
        "version": "getCodeVersion",
    }
    version_2 = orjson.loads((await get(openapi, "/openapi/v2")).body)
    for name, id_ in ids.items():
        document = orjson.loads((await get(openapi, index[name]["serverRelativeURL"])).body)
        assert [item["get"]["operationId"] for item in document["paths"].values()] == [id_]
        assert version_2["paths"][f"/{name}/"]["get"]["operationId"] == id_
    document = orjson.loads((await get(openapi, "/openapi/v3/apis/apps/v1")).body)
    assert document["paths"]["/apis/apps/v1/"]["get"]["operationId"] == "getAppsV1APIResources"


async def test_what_a_deletion_answers_with(openapi):
    paths = orjson.loads((await get(openapi, "/openapi/v2")).body)["paths"]
    for kind, answer in (("pods", "api.core.v1.Pod"), ("configmaps", "apimachinery.pkg.apis.meta.v1.Status")):
        responses = paths[f"/api/v1/namespaces/{{namespace}}/{kind}/{{name}}"]["delete"]["responses"]
        assert responses["200"]["schema"] == {"$ref": f"#/definitions/io.k8s.{answer}"}


async def test_watches_have_their_old_paths(openapi):
    paths = orjson.loads((await get(openapi, "/openapi/v3/apis/apps/v1")).body)["paths"]
    start = "/apis/apps/v1/watch/"
    found = {path.removeprefix(start): item["get"] for path, item in paths.items() if path.startswith(start)}
    deployments = {path: each["operationId"] for path, each in found.items() if "deployments" in path}
    assert deployments == {
        "deployments": "watchAppsV1DeploymentListForAllNamespaces",
        "namespaces/{namespace}/deployments": "watchAppsV1NamespacedDeploymentList",
        "namespaces/{namespace}/deployments/{name}": "watchAppsV1NamespacedDeployment",
    }
    assert found["deployments"]["x-kubernetes-action"] == "watchlist"


async def test_what_all_groups_share_belongs_to_the_documents_own_versions(openapi):
    schemas = orjson.loads((await get(openapi, "/openapi/v3/apis/apps/v1")).body)["components"]["schemas"]
    for name in ("DeleteOptions", "WatchEvent"):
        kinds = schemas[f"io.k8s.apimachinery.pkg.apis.meta.v1.{name}"]["x-kubernetes-group-version-kind"]
        assert {(kind["group"], kind["version"]) for kind in kinds} == {("", "v1"), ("apps", "v1")}


async def test_defaults(openapi):
    schemas = orjson.loads((await get(openapi, "/openapi/v3/api/v1")).body)["components"]["schemas"]

    def default(kind: str, field: str) -> object:
        return schemas[f"io.k8s.api.core.v1.{kind}"]["properties"][field].get("default", "none")

    assert default("LocalObjectReference", "name") == ""
    assert default("ServicePort", "targetPort") == "none"
    assert default("ContainerStatus", "state") == {}
    assert default("Container", "name") == ""
    assert schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"]["description"]


async def test_enumerations_of_a_map_are_of_its_values(openapi):
    schemas = orjson.loads((await get(openapi, "/openapi/v3/api/v1")).body)["components"]["schemas"]
    statuses = schemas["io.k8s.api.core.v1.PersistentVolumeClaimStatus"]["properties"]["allocatedResourceStatuses"]
    assert "enum" not in statuses
    assert "NodeResizePending" in statuses["additionalProperties"]["enum"]
