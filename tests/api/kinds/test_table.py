"""The kinds that are served, against the list of what upstream serves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pilothouse.api import gvr as identities
from pilothouse.api.gvr import GVR
from pilothouse.api.kinds.table import RESOURCES, by_kind, by_path
from pilothouse.api.resource import ALL_VERBS, Resource
from pilothouse.api.schema import schema_of
from pilothouse.kit.deferred import Deferred

LETTERS = {
    "create": "c",
    "delete": "d",
    "deletecollection": "D",
    "get": "g",
    "list": "l",
    "patch": "p",
    "update": "u",
    "watch": "w",
}
SERVED = [
    line.split()
    for line in Path(__file__).with_name("discovery.txt").read_text().splitlines()
    if not line.startswith("#")
]


def letters(verbs: tuple[str, ...]) -> str:
    return "*" if set(verbs) == set(ALL_VERBS) else "".join(LETTERS[verb] for verb in sorted(verbs))


def listed(api_version: str, resource: Resource, gvr: GVR) -> list[str]:
    subresources = []
    for sub in sorted(resource.subresources, key=lambda sub: sub.name):
        kind = f"{sub.group}/{sub.version}/{sub.kind}" if sub.group else sub.kind
        subresources.append(":".join(filter(None, (sub.name, letters(sub.verbs), kind))))
    return [
        api_version,
        gvr.plural,
        gvr.kind,
        "N" if gvr.namespaced else "C",
        letters(resource.verbs),
        ",".join(resource.short_names) or "-",
        ",".join(resource.categories) or "-",
        resource.singular or "-",
        *subresources,
    ]


@pytest.mark.parametrize("facts", SERVED, ids=lambda facts: f"{facts[0]}/{facts[1]}")
def test_each_served_kind_is_declared_as_upstream_serves_it(facts: list[str]) -> None:
    group, _, version = facts[0].rpartition("/")
    resource = by_path(group, version, facts[1])
    assert resource is not None
    gvr = next(gvr for gvr in (resource.gvr, *resource.other_versions) if gvr.api_version == facts[0])
    assert listed(facts[0], resource, gvr) == facts
    assert by_kind(facts[0], facts[2]) is resource


def test_nothing_else_is_served() -> None:
    declared = {gvr for resource in RESOURCES for gvr in (resource.gvr, *resource.other_versions)}
    assert {(gvr.api_version, gvr.plural) for gvr in declared} == {(facts[0], facts[1]) for facts in SERVED}
    assert declared == {value for value in vars(identities).values() if isinstance(value, GVR)}


def test_groups_stand_in_the_order_of_discovery() -> None:
    """A client that finds a short name twice takes the first."""
    order = list(dict.fromkeys(facts[0].rpartition("/")[0] for facts in SERVED if facts[0] != "events.k8s.io/v1"))
    assert list(dict.fromkeys(resource.gvr.group for resource in RESOURCES)) == order


def test_an_unknown_path_has_no_kind() -> None:
    assert by_path("apps", "v1beta1", "deployments") is None
    assert by_kind("v1", "Deployment") is None


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.gvr.group_resource)
def test_every_kind_has_a_schema_and_survives_an_empty_object(resource: Resource) -> None:
    schema = schema_of(resource.gvr.api_version, resource.gvr.kind)
    assert resource.has_status <= ("status" in schema.struct.fields)
    obj = {"metadata": {"name": "a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}}
    schema.load(obj)
    schema.default(obj)
    resource.default(obj)
    resource.prepare_create(obj)
    for read in resource.selectable.values():
        assert isinstance(read(obj), str)
    for column in resource.columns:
        assert isinstance(column.cell(obj, 1.8e9), str | int)


HOOKS = ("validate", "validate_update", "validate_status_update", "warnings", "update_warnings", "prepare_create")


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.gvr.group_resource)
def test_deferred_hooks_exist(resource: Resource) -> None:
    for name in HOOKS:
        hook = getattr(resource, name)
        if isinstance(hook, Deferred):
            assert callable(hook.resolve())


def test_the_table_loads_without_what_only_requests_need() -> None:
    """Start-up must not pay for validation and schemas of kinds that nobody touches."""
    program = "import sys, pilothouse.api.kinds.table; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    heavy = ("pilothouse.api.validate.", "pilothouse.api.schema", "pilothouse.api.selector", "pilothouse.api.quantity")
    assert [name for name in loaded if name.startswith(heavy)] == []
