from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api import names
from pilothouse.api.validate.metadata import validate_metadata, validate_metadata_update
from tests.api.validate.loaded import changed, texts

OBJ: dict[str, Any] = {"metadata": {"name": "a", "namespace": "default", "resourceVersion": "1", "uid": "u"}}
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "1", "controller": True}


@pytest.mark.parametrize(
    ("path", "value", "start"),
    [
        ("metadata.name", "", "metadata.name: Required value: name or generateName is required"),
        ("metadata.name", "A", 'metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of'),
        ("metadata.name", "a" * 254, "metadata.name: Invalid value: "),
        ("metadata.generateName", "-", 'metadata.generateName: Invalid value: "-": a lowercase RFC 1123 subdomain'),
        ("metadata.namespace", "", "metadata.namespace: Required value"),
        ("metadata.namespace", "a.b", 'metadata.namespace: Invalid value: "a.b": must not contain dots'),
        ("metadata.generation", -1, "metadata.generation: Invalid value: -1: must be greater than or equal to 0"),
        ("metadata.labels", {"/a": "b"}, 'metadata.labels: Invalid value: "/a": prefix part must be non-empty'),
        ("metadata.labels", {"a": "b c"}, 'metadata.labels: Invalid value: "b c": a valid label must be an empty string'),
        ("metadata.annotations", {"": "x"}, 'metadata.annotations: Invalid value: "": name part must be non-empty'),
        ("metadata.annotations", {"a": "é" * 140_000}, "metadata.annotations: Too long: may not be more than 262144 bytes"),
        ("metadata.ownerReferences", [{**OWNER, "uid": ""}], 'metadata.ownerReferences.uid: Invalid value: "": must not be empty'),
        (
            "metadata.ownerReferences", [OWNER, {**OWNER, "name": "s"}],
            "metadata.ownerReferences: Invalid value: [",
        ),
        ("metadata.ownerReferences", [{**OWNER, "apiVersion": "v1", "kind": "Event"}], "metadata.ownerReferences: Invalid value: {"),
        ("metadata.finalizers", ["a b"], 'metadata.finalizers: Invalid value: "a b": name part must consist of'),
        (
            "metadata.finalizers", ["orphan", "foregroundDeletion"],
            'metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be '
            "both set",
        ),
        ("metadata.managedFields", [{"operation": "Guess"}], 'metadata.managedFields[0].operation: Invalid value: "Guess"'),
        ("metadata.managedFields", [{"operation": "Apply", "manager": "m" * 129}], "metadata.managedFields[0].manager: Too long"),
    ],
)  # fmt: skip
def test_faults(path: str, value: Any, start: str) -> None:
    found = texts(validate_metadata(changed(OBJ, path, value), namespaced=True))
    assert found
    assert found[0].startswith(start)


def test_good_metadata() -> None:
    good = changed(OBJ, "metadata.annotations", {"Example.COM/Key": "any value"})
    assert validate_metadata(changed(good, "metadata.ownerReferences", [OWNER]), namespaced=True) == []
    assert validate_metadata(changed(OBJ, "metadata.generateName", "a-"), namespaced=True) == []
    assert texts(validate_metadata(OBJ, namespaced=False)) == [
        "metadata.namespace: Forbidden: not allowed on this type"
    ]
    assert (
        validate_metadata(changed(OBJ, "metadata.name", "system:node"), namespaced=True, rule=names.path_segment) == []
    )


@pytest.mark.parametrize("field", ["name", "namespace", "uid"])
def test_what_never_changes(field: str) -> None:
    assert texts(validate_metadata_update(changed(OBJ, f"metadata.{field}", "b"), OBJ)) == [
        f'metadata.{field}: Invalid value: "b": field is immutable'
    ]


def test_updates() -> None:
    assert texts(validate_metadata_update(changed(OBJ, "metadata.resourceVersion", ""), OBJ)) == [
        'metadata.resourceVersion: Invalid value: "": must be specified for an update'
    ]
    deleting = changed(
        changed(OBJ, "metadata.deletionTimestamp", "2026-01-01T00:00:00Z"), "metadata.finalizers", ["x/a"]
    )
    assert texts(validate_metadata_update(changed(deleting, "metadata.finalizers", ["x/a", "x/b"]), deleting)) == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
        '[]string{"x/b"}'
    ]
    assert validate_metadata_update(changed(deleting, "metadata.finalizers", []), deleting) == []
