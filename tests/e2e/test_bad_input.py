"""Requests that are wrong get upstream's answer, and harm nothing. Source: apimachinery `pkg/api/errors`, `pkg/apis/meta/v1` Status."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Answer, Cluster, until

pytestmark = pytest.mark.xdist_group("e2e-simulated")

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
BODY_LIMIT_BYTES = 3 * 1024 * 1024


def config_map(name: str, **values: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **values}


def failure(answer: Answer, status: int, reason: str) -> dict[str, Any]:
    """The Status of an answer, after a look at its form."""
    assert answer.status == status, answer.body
    found = answer.json
    assert (found["kind"], found["apiVersion"], found["status"]) == ("Status", "v1", "Failure")
    assert (found["code"], found.get("reason", "")) == (status, reason)
    assert found["message"]
    return found


@pytest.mark.parametrize("body", [b"{", b"", b"[1]", b'{"apiVersion":"v1","kind":"ConfigMap"', b"\xff\xfe"])
def test_malformed_json(simulated: Cluster, body: bytes) -> None:
    failure(simulated.request("POST", CONFIG_MAPS, body), 400, "BadRequest")


def test_null_is_an_object_without_fields(simulated: Cluster) -> None:
    found = failure(simulated.request("POST", CONFIG_MAPS, b"null"), 422, "Invalid")
    assert "name or generateName is required" in found["message"]


@pytest.mark.parametrize("body", [b"a: [", b"\tkind: ConfigMap", b"kind: ConfigMap\n  apiVersion: v1\n"])
def test_malformed_yaml(simulated: Cluster, body: bytes) -> None:
    answer = simulated.request("POST", CONFIG_MAPS, body, {"content-type": "application/yaml"})
    failure(answer, 400, "BadRequest")


def test_nesting_without_end_is_refused(simulated: Cluster) -> None:
    failure(simulated.request("POST", CONFIG_MAPS, b'{"a":' * 100_000 + b"1" + b"}" * 100_000), 400, "BadRequest")


def test_an_object_of_another_kind(simulated: Cluster) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    failure(simulated.request("POST", CONFIG_MAPS, pod), 400, "BadRequest")


def test_an_unknown_field_is_named_in_a_warning(simulated: Cluster) -> None:
    body = config_map("warned", colour="red", metadata={"name": "warned", "size": 1})
    answer = simulated.request("POST", f"{CONFIG_MAPS}?fieldValidation=Warn&dryRun=All", body)
    assert answer.status == 201
    warning = '299 - "unknown field \\"%s\\""'
    assert answer.headers["warning"] == f"{warning % 'metadata.size'}, {warning % 'colour'}"
    assert "colour" not in answer.json


def test_strict_validation_refuses_unknown_and_repeated_fields_and_names_them(simulated: Cluster) -> None:
    body = (
        b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"s"},"colour":1,"data":{"a":"b"},"data":{"c":"d"}}'
    )
    found = failure(simulated.request("POST", f"{CONFIG_MAPS}?fieldValidation=Strict", body), 400, "BadRequest")
    assert "strict decoding error" in found["message"]
    assert 'unknown field "colour"' in found["message"]
    assert 'duplicate field "data"' in found["message"]


def test_a_value_of_the_wrong_type(simulated: Cluster) -> None:
    found = failure(simulated.request("POST", CONFIG_MAPS, config_map("typed", data=["a"])), 400, "BadRequest")
    assert "data" in found["message"]


def test_an_invalid_object_is_refused_with_every_cause(simulated: Cluster) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "Not_A_Name", "labels": {"a b": "c"}},
        "spec": {
            "restartPolicy": "Sometimes",
            "containers": [
                {"name": "a", "image": ""},
                {"name": "a", "image": "b", "ports": [{"containerPort": 70000}]},
            ],
        },
    }
    found = failure(simulated.request("POST", PODS, pod), 422, "Invalid")
    assert found["details"]["kind"] == "Pod"
    assert found["details"]["name"] == "Not_A_Name"
    causes = {cause["field"] for cause in found["details"]["causes"]}
    assert causes >= {
        "metadata.name",
        "metadata.labels",
        "spec.restartPolicy",
        "spec.containers[0].image",
        "spec.containers[1].name",
        "spec.containers[1].ports[0].containerPort",
    }
    assert found["message"].startswith('Pod "Not_A_Name" is invalid: [')


def test_a_stale_version_conflicts(simulated: Cluster) -> None:
    made = simulated.request("POST", CONFIG_MAPS, config_map("stale")).json
    path = f"{CONFIG_MAPS}/stale"
    assert simulated.request("PUT", path, {**made, "data": {"a": "1"}}).status == 200
    found = failure(simulated.request("PUT", path, {**made, "data": {"a": "2"}}), 409, "Conflict")
    assert (
        "the object has been modified; please apply your changes to the latest version and try again"
        in found["message"]
    )
    version = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"a": "3"}}
    patch = {"content-type": "application/merge-patch+json"}
    failure(simulated.request("PATCH", path, version, patch), 409, "Conflict")
    assert simulated.request("GET", path).json["data"] == {"a": "1"}
    failure(simulated.request("POST", CONFIG_MAPS, config_map("stale")), 409, "AlreadyExists")
    wrong_uid = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    failure(simulated.request("DELETE", path, wrong_uid), 409, "Conflict")
    assert simulated.request("DELETE", path).status == 200
    failure(simulated.request("DELETE", path), 404, "NotFound")


@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Basic YTpi", "Bearer"])
def test_without_valid_credentials(simulated: Cluster, authorization: str | None) -> None:
    headers = {"authorization": authorization} if authorization else {}
    answer = simulated.request("GET", PODS, headers=headers, as_admin=False)
    if authorization == "Bearer nonsense":
        failure(answer, 401, "Unauthorized")
    else:
        found = failure(answer, 403, "Forbidden")
        assert (
            'User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "default"'
            in found["message"]
        )


def test_a_certificate_of_another_authority_is_no_credential(simulated: Cluster, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "crt"
    subject = ["-subj", "/O=system:masters/CN=intruder", "-days", "1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject], check=True, capture_output=True
    )
    context = ssl.create_default_context(cafile=str(simulated.directory / "data" / "pki" / "ca.crt"))
    context.load_cert_chain(certificate, key)
    with (
        socket.create_connection(("127.0.0.1", simulated.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b"GET /api/v1/nodes HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 401 ")


def test_a_forbidden_verb_names_user_verb_and_resource(simulated: Cluster) -> None:
    token_path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    token = simulated.request("POST", token_path, request).json["status"]["token"]
    headers = {"authorization": f"Bearer {token}"}
    answer = simulated.request(
        "DELETE", "/apis/apps/v1/namespaces/default/deployments/web", None, headers, as_admin=False
    )
    found = failure(answer, 403, "Forbidden")
    assert found["message"] == (
        'deployments.apps "web" is forbidden: User "system:serviceaccount:default:default" '
        'cannot delete resource "deployments" in API group "apps" in the namespace "default"'
    )
    assert found["details"] == {"name": "web", "group": "apps", "kind": "deployments"}


def test_a_body_over_the_limit(simulated: Cluster) -> None:
    body = json.dumps(config_map("big", data={"a": "x" * BODY_LIMIT_BYTES})).encode()
    failure(simulated.request("POST", CONFIG_MAPS, body), 413, "RequestEntityTooLarge")


def test_a_body_without_end_is_cut_off(simulated: Cluster) -> None:
    connection = raw(simulated)
    head = (
        b"POST "
        + CONFIG_MAPS.encode()
        + b" HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    connection.sendall(head)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
        for _ in range(BODY_LIMIT_BYTES // 0x10000 + 16):
            connection.sendall(chunk)
    with contextlib.suppress(ConnectionResetError):
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense"]
)
def test_an_unsupported_media_type(simulated: Cluster, media_type: str) -> None:
    answer = simulated.request("POST", CONFIG_MAPS, b"a", {"content-type": media_type})
    failure(answer, 415, "UnsupportedMediaType")


def test_an_unsupported_patch(simulated: Cluster) -> None:
    answer = simulated.request(
        "PATCH", f"{CONFIG_MAPS}/kube-root-ca.crt", {"a": 1}, {"content-type": "application/json"}
    )
    found = failure(answer, 415, "UnsupportedMediaType")
    assert found["message"] == "415: Unsupported Media Type"


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "application/json;as=Table;v=v9;g=meta.k8s.io"])
def test_not_acceptable(simulated: Cluster, accept: str) -> None:
    failure(simulated.request("GET", PODS, headers={"accept": accept}), 406, "NotAcceptable")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2",
        "/apis/none.example/v1/things",
        "/api/v1/namespaces/default/nothings",
        "/nonsense",
        "/api/v1/pods/a/b/c",
    ],
)
def test_unknown_paths(simulated: Cluster, path: str) -> None:
    answer = simulated.request("GET", path)
    assert answer.status == 404


def test_an_unknown_object_is_named(simulated: Cluster) -> None:
    found = failure(simulated.request("GET", f"{PODS}/nobody"), 404, "NotFound")
    assert found["message"] == 'pods "nobody" not found'
    assert found["details"] == {"name": "nobody", "kind": "pods"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", PODS),
        ("POST", f"{PODS}/web"),
        ("DELETE", "/api/v1/namespaces"),
        ("POST", "/apis"),
        ("PATCH", PODS),
        ("GET", "/api/v1/namespaces/default/pods/web/binding"),
    ],
)
def test_a_wrong_method(simulated: Cluster, method: str, path: str) -> None:
    body = b"{}" if method in ("PUT", "POST", "PATCH") else None
    failure(simulated.request(method, path, body), 405, "MethodNotAllowed")


@pytest.mark.parametrize(
    "query",
    [
        "labelSelector=a+in+(",
        "fieldSelector=spec.colour%3Dred",
        "limit=many",
        "continue=nonsense",
        "resourceVersion=abc",
        "resourceVersionMatch=Exact",
        "watch=1&resourceVersion=abc",
    ],
)
def test_wrong_queries(simulated: Cluster, query: str) -> None:
    answer = simulated.request("GET", f"{PODS}?{query}")
    failure(answer, answer.status, {400: "BadRequest", 422: "Invalid"}[answer.status])


# The HTTP edge.


def raw(cluster: Cluster) -> ssl.SSLSocket:
    """A TLS connection as the administrator, on which anything may be sent."""
    pki = cluster.directory / "data" / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    plain = socket.create_connection(("127.0.0.1", cluster.port), timeout=20)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def read_all(connection: socket.socket) -> bytes:
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        if not received:
            raise
    return received


def test_pipelined_requests_are_answered_in_order(simulated: Cluster) -> None:
    paths = ["/version", "/api", "/nonsense", "/livez", "/apis"]
    requests = b"".join(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode() for path in paths[:-1])
    with raw(simulated) as connection:
        connection.sendall(requests + b"GET /apis HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        received = read_all(connection)
    statuses = re.findall(rb"HTTP/1\.1 (\d+)", received)
    assert statuses == [b"200", b"200", b"404", b"200", b"200"]
    places = [received.index(mark) for mark in (b'"gitVersion"', b'"APIVersions"', b'"APIGroupList"')]
    assert places == sorted(places)


def test_a_request_that_comes_in_single_bytes(simulated: Cluster) -> None:
    with raw(simulated) as connection:
        for byte in b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n":
            connection.sendall(bytes([byte]))
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /livez HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 2_000_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"a" * 2_000_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", b"4"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\nhost : a\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"4"),
    ],
    ids=[
        "large header",
        "long path",
        "no request",
        "negative length",
        "two lengths",
        "space in a name",
        "no host",
        "HTTP/2",
    ],
)
def test_broken_heads_are_refused(simulated: Cluster, head: bytes, status: bytes) -> None:
    with raw(simulated) as connection:
        try:
            connection.sendall(head)
            received = read_all(connection)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            received = b""
    assert not received or received.startswith(b"HTTP/1.1 " + status), received[:200]
    assert simulated.request("GET", "/livez").status == 200


def test_plain_http_gets_an_answer_or_an_end(simulated: Cluster) -> None:
    with socket.create_connection(("127.0.0.1", simulated.port), timeout=10) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n")
        try:
            received = connection.recv(1000)
        except ConnectionResetError:
            received = b""
    assert b"200 OK" not in received


def test_many_connections_that_say_nothing_do_not_keep_others_out(simulated: Cluster) -> None:
    silent = [socket.create_connection(("127.0.0.1", simulated.port), timeout=10) for _ in range(200)]
    try:
        assert simulated.request("GET", "/readyz").status == 200
    finally:
        for connection in silent:
            connection.close()


def test_a_client_that_leaves_while_it_watches_costs_nothing_that_stays(simulated: Cluster) -> None:
    def open_files() -> int:
        return len(list(Path(f"/proc/{simulated.component('apiserver')['pid']}/fd").iterdir()))

    before = open_files()
    for _ in range(20):
        with raw(simulated) as connection:
            connection.sendall(b"GET /api/v1/pods?watch=1 HTTP/1.1\r\nhost: a\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    until(lambda: open_files() <= before + 3, "connections of watchers that left are closed")
