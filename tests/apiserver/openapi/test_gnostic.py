"""What is written is read back here by field number, as gnostic's declaration has them."""

from __future__ import annotations

import orjson
import pytest

from pilothouse.api.codec.wire import fields
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.apiserver.openapi import documents, gnostic


def parts(data: bytes, number: int) -> list:
    return [value for found, value in fields(data, 0, len(data)) if found == number]


def only(data: bytes, *numbers: int) -> bytes:
    """The value at the end of a path of field numbers."""
    for number in numbers:
        (data,) = parts(data, number)
    return data


def named(data: bytes, number: int) -> dict[str, bytes]:
    return {only(entry, 1).decode(): only(entry, 2) for entry in parts(data, number)}


def schema(value: dict) -> bytes:
    document = {"swagger": "2.0", "definitions": {"X": value}}
    return named(only(gnostic.encode(document), 9), 1)["X"]


@pytest.fixture(scope="module")
def document() -> bytes:
    served = [(resource.gvr, resource) for resource in RESOURCES if resource.gvr.group in ("", "apps")]
    return gnostic.encode(documents.version_2(served))


def test_definitions(document: bytes) -> None:
    definitions = named(only(document, 9), 1)
    pod = definitions["io.k8s.api.core.v1.Pod"]
    assert only(pod, 22, 1) == b"object"
    assert named(only(pod, 25), 1)["spec"] != b""
    (kinds,) = (only(entry, 2, 2) for entry in parts(pod, 31) if only(entry, 1) == b"x-kubernetes-group-version-kind")
    assert orjson.loads(kinds) == [{"group": "", "kind": "Pod", "version": "v1"}]
    spec = definitions["io.k8s.api.core.v1.PodSpec"]
    containers = named(only(spec, 25), 1)["containers"]
    assert only(containers, 23, 1, 1) == b"#/definitions/io.k8s.api.core.v1.Container"
    assert b"containers" in parts(spec, 19)
    selector = named(only(spec, 25), 1)["nodeSelector"]
    assert only(selector, 21, 1, 22, 1) == b"string"


def test_paths(document: bytes) -> None:
    paths = named(only(document, 8), 2)
    patch = only(paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"], 8)
    assert only(patch, 5) == b"patchAppsV1NamespacedDeployment"
    parameters = parts(patch, 8)
    assert only(parameters[0], 1, 1, 3) == b"body"
    assert only(parameters[0], 1, 1, 5, 1).startswith(b"#/definitions/")
    assert {only(each, 1, 2, 3, 4) for each in parameters[1:]} >= {b"dryRun", b"fieldValidation"}
    assert only(named(only(patch, 9), 1)["200"], 1, 2, 1, 1).endswith(b"v1.Deployment")
    shared = parts(paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"], 9)
    assert {only(each, 1, 2, 4, 4) for each in shared if parts(only(each, 1, 2), 4)} == {b"name", b"namespace"}


def test_security(document: bytes) -> None:
    assert only(only(document, 13), 1, 2, 2, 1) == b"apiKey"
    assert only(document, 12, 1, 1) == b"BearerToken"


def test_scalars_and_free_values() -> None:
    encoded = schema({"maximum": 1.5, "minLength": 0, "maxLength": 300, "default": {"a": None}, "enum": ["x", 1]})
    assert [number for number, _ in fields(encoded, 0, len(encoded))] == [5, 7, 11, 20, 20]
    assert only(encoded, 11) == 300
    assert only(encoded, 5, 2) == b'{"a":null}'


def test_one_of_several() -> None:
    assert only(schema({"additionalProperties": True}), 21, 2) == 1
    assert parts(schema({"type": ["string", "null"]}), 22)[0] == b"\x0a\x06string\x0a\x04null"
    assert only(schema({"$ref": "#/definitions/Y", "x-a": 1}), 1) == b"#/definitions/Y"
