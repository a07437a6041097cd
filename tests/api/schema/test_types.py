"""The packed definitions, and what OpenAPI makes of them."""

from __future__ import annotations

import pytest

from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.schema import openapi
from pilothouse.api.schema.types import ListOf, MapOf, Ref, Type, catalog

KNOWN = set(catalog())


def innermost(found: Type) -> Type:
    while isinstance(found, ListOf | MapOf):
        found = found.item if isinstance(found, ListOf) else found.value
    return found


def test_every_definition_refers_only_to_what_is_there() -> None:
    for name in KNOWN:
        for field in catalog().struct(name).fields.values():
            found = innermost(field.type)
            assert not isinstance(found, Ref) or found.name in KNOWN


def test_map_keys_are_fields_of_the_items() -> None:
    for name in KNOWN:
        for field in catalog().struct(name).fields.values():
            keys = {*field.map_keys, field.merge_key} - {""}
            item = innermost(field.type)
            if keys and isinstance(item, Ref):
                assert keys <= item.struct.fields.keys(), (name, keys)


@pytest.mark.parametrize("version", [2, 3])
def test_references_of_openapi_resolve(version: int) -> None:
    schemas = openapi.definitions(version)
    prefix = {2: "#/definitions/", 3: "#/components/schemas/"}[version]

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for member in value.values() for found in references(member)]
        return [found for item in value for found in references(item)] if isinstance(value, list) else []

    assert {text.removeprefix(prefix) for schema in schemas.values() for text in references(schema)} <= schemas.keys()


def test_openapi_of_one_kind_has_what_it_refers_to_and_no_more() -> None:
    schemas = openapi.definitions(3, ["io.k8s.api.core.v1.ConfigMap"])
    assert "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" in schemas
    assert "io.k8s.api.core.v1.Pod" not in schemas
    port = openapi.definitions(3, ["io.k8s.api.core.v1.ContainerPort"])["io.k8s.api.core.v1.ContainerPort"]
    assert port["required"] == ["containerPort"]
    assert port["properties"]["protocol"]["default"] == "TCP"
    assert port["properties"]["containerPort"] | {"description": ""} == {
        "type": "integer",
        "format": "int32",
        "default": 0,
        "description": "",
    }


def test_every_kind_is_described() -> None:
    for resource in RESOURCES:
        for gvr in (resource.gvr, *resource.other_versions):
            name = openapi.definition_name(gvr.api_version, gvr.kind)
            assert name is not None
            described = openapi.definitions(2, [name])[name]
            assert described["description"]
            group, version = gvr.group, gvr.version
            assert {"group": group, "version": version, "kind": gvr.kind} in described[
                "x-kubernetes-group-version-kind"
            ]
