"""Reading what clients send: faults and their texts first, then the form in which objects are kept."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pilothouse.api.meta import Object
from pilothouse.api.schema import FieldValidation, schema_of
from pilothouse.api.schema.duplicates import duplicate_fields
from pilothouse.api.status import BadRequest


def load(api_version: str, kind: str, obj: Object, **options: Any) -> tuple[Object, list[str]]:
    warnings = schema_of(api_version, kind).load(obj, **options)
    return obj, warnings


def pod(**container: Any) -> Object:
    return {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", **container}]}}


@pytest.mark.parametrize(
    ("kind", "obj", "text"),
    [
        (
            "apps/v1 Deployment",
            {"spec": {"replicas": "3"}},
            'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field '
            "DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "v1 Pod",
            pod(image=1),
            'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field '
            "Container.spec.containers.image of type string",
        ),
        ("v1 Pod", {"spec": {"containers": {}}}, "object into Go struct field PodSpec.spec.containers of type []v1.Container"),
        ("v1 Pod", {"spec": {"priority": 1.5}}, "cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32"),
        ("v1 Pod", {"spec": {"priority": 3000000000}}, "cannot unmarshal number 3000000000 into"),
        ("v1 Pod", {"spec": {"hostNetwork": "true"}}, "PodSpec.spec.hostNetwork of type bool"),
        ("v1 Pod", {"metadata": {"labels": {"a": 1}}}, "number into Go struct field ObjectMeta.metadata.labels of type string"),
        ("v1 Pod", {"metadata": {"creationTimestamp": "yesterday"}}, 'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00"'),
        ("v1 Pod", pod(resources={"limits": {"cpu": "much"}}), "quantities must match the regular expression"),
        ("v1 Pod", pod(ports=[{"containerPort": True}]), "cannot unmarshal bool into Go struct field ContainerPort.spec.containers.ports"),
        ("v1 Secret", {"data": {"a": "not base64!"}}, "illegal base64 data at input byte 3"),
        ("v1 Service", {"spec": {"ports": [{"targetPort": 1.5}]}}, "cannot unmarshal number 1.5 into Go value of type int32"),
        ("v1 Service", {"spec": {"type": 5}}, "number into Go struct field ServiceSpec.spec.type of type v1.ServiceType"),
        ("v1 Service", {"spec": {"ipFamilies": "x"}}, "string into Go struct field ServiceSpec.spec.ipFamilies of type []v1.IPFamily"),
        ("v1 Service", {"spec": {"ipFamilies": [5]}}, "number into Go struct field ServiceSpec.spec.ipFamilies of type v1.IPFamily"),
        ("v1 Service", {"metadata": {"uid": 5}}, "number into Go struct field ObjectMeta.metadata.uid of type types.UID"),
        ("v1 Service", {"metadata": {"creationTimestamp": 5}}, "Go struct field ObjectMeta.metadata.creationTimestamp of type string"),
        ("v1 Pod", pod(resources={"limits": []}),
         "array into Go struct field ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList"),
        ("v1 Pod", {"spec": {"volumes": [{"secret": {"secretName": 5}}]}},
         "number into Go struct field SecretVolumeSource.spec.volumes.VolumeSource.secret.secretName of type string"),
    ],
)  # fmt: skip
def test_a_wrong_type_is_a_bad_request_in_the_decoders_words(kind: str, obj: Object, text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        load(*kind.split(), obj)
    assert text in caught.value.message


def test_unknown_fields_are_removed_and_named() -> None:
    obj = {"spec": {"foo": 1, "containers": [{"name": "c", "imge": "x", "ports": [{"port": 1}]}]}, "Spec": {}}
    loaded, warnings = load("v1", "Pod", obj)
    assert warnings == [
        'unknown field "spec.foo"',
        'unknown field "spec.containers[0].imge"',
        'unknown field "spec.containers[0].ports[0].port"',
        'unknown field "Spec"',
    ]
    assert loaded["spec"].keys() == {"containers"}
    assert "imge" not in loaded["spec"]["containers"][0]


def test_unknown_fields_pass_silently_when_told_to() -> None:
    loaded, warnings = load("v1", "Pod", {"spec": {"foo": 1}}, strict=FieldValidation.IGNORE)
    assert warnings == []
    assert "foo" not in loaded["spec"]


def test_unknown_and_duplicate_fields_are_refused_when_strict() -> None:
    with pytest.raises(BadRequest) as caught:
        load("v1", "Pod", {"spec": {"foo": 1}}, strict=FieldValidation.STRICT, duplicates=["metadata.name"])
    assert caught.value.message == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.foo", '
        'duplicate field "metadata.name"'
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"a":1,"b":{"c":"x\\":"}}', []),
        (b'{"a":1, "a":2}', ["a"]),
        (b'{"a" : 1, "b":[{"c":1,"c":2},{"c":1}]}\n', ["b[0].c"]),
        (b'{"a":{"b":1,"b":2,"b":3}}', ["a.b"]),
    ],
)
def test_duplicate_fields_are_found(text: bytes, found: list[str]) -> None:
    assert duplicate_fields(text, orjson.loads(text)) == found


def test_nulls_and_empty_values_go_unless_they_mean_something() -> None:
    obj = pod(image="", args=[], env=None, tty=False, securityContext={"runAsNonRoot": False}, resources={})
    obj["spec"] |= {"hostNetwork": False, "automountServiceAccountToken": False, "nodeName": ""}
    loaded, warnings = load("v1", "Pod", obj)
    assert warnings == []
    assert loaded["spec"] == {
        "containers": [{"name": "c", "resources": {}, "securityContext": {"runAsNonRoot": False}}],
        "automountServiceAccountToken": False,
    }
    assert loaded["status"] == {}


def test_what_upstream_always_writes_is_there() -> None:
    loaded, _ = load("apps/v1", "DaemonSet", {"metadata": {"name": "a"}, "spec": {"template": {}}})
    assert loaded["status"] == {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    }
    assert loaded["spec"]["updateStrategy"] == {}


def test_values_get_one_spelling() -> None:
    obj = pod(resources={"limits": {"cpu": 0.5, "memory": "1024Mi", "x.y/z": 2}}, command=[None, "a"])
    obj["metadata"]["creationTimestamp"] = "2026-01-01T01:00:00+01:00"
    loaded, _ = load("v1", "Pod", obj)
    container = loaded["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi", "x.y/z": "2"}
    assert container["command"] == ["", "a"]
    assert loaded["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"


def test_micro_times_have_six_digits() -> None:
    loaded, _ = load("coordination.k8s.io/v1", "Lease", {"spec": {"renewTime": "2026-01-01T01:00:00.000001+01:00"}})
    assert loaded["spec"]["renewTime"] == "2026-01-01T00:00:00.000001Z"
    with pytest.raises(BadRequest, match=r'cannot parse "Z" as "\.000000"'):
        load("coordination.k8s.io/v1", "Lease", {"spec": {"renewTime": "2026-01-01T00:00:00Z"}})


def test_loading_twice_changes_nothing() -> None:
    schema = schema_of("v1", "Pod")
    obj = pod(image="a", livenessProbe={"httpGet": {"port": "http"}}, resources={"requests": {"cpu": "1000m"}})
    schema.load(obj)
    schema.default(obj)
    once = orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)
    schema.load(obj)
    schema.default(obj)
    assert orjson.dumps(obj, option=orjson.OPT_SORT_KEYS) == once


def test_pruning_a_partial_object_adds_nothing() -> None:
    obj = {"spec": {"containers": [{"name": "c", "args": [], "foo": 1}]}}
    assert schema_of("v1", "Pod").prune(obj) == ['unknown field "spec.containers[0].foo"']
    assert obj == {"spec": {"containers": [{"name": "c", "args": []}]}}


def test_free_objects_are_not_looked_into() -> None:
    data = {"anything": [1, None, {"a": ""}]}
    loaded, warnings = load("apps/v1", "ControllerRevision", {"data": data, "revision": 1})
    assert warnings == []
    assert loaded["data"] == {"anything": [1, None, {"a": ""}]}


def test_schemas_that_contain_themselves_load() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string", "default": "x"}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    obj: Object = {"spec": {"group": "a.b", "versions": [version], "names": {"kind": "A", "plural": "as"}}}
    loaded, warnings = load("apiextensions.k8s.io/v1", "CustomResourceDefinition", obj)
    assert warnings == []
    assert loaded["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["a"]["items"]["default"] == "x"


def test_facts_of_lists() -> None:
    schema = schema_of("v1", "Pod")
    ports = schema.field_at(("spec", "containers", "ports"))
    assert ports is not None
    assert (ports.merge_key, ports.patch_strategy) == ("containerPort", "merge")
    assert (ports.list_type, ports.map_keys) == ("map", ("containerPort", "protocol"))
    assert schema.field_at(("spec", "nothing")) is None


def test_an_unknown_kind_has_no_schema() -> None:
    with pytest.raises(KeyError):
        schema_of("v1", "Nothing")


def test_nulls_in_maps_of_times_stay() -> None:
    obj = {"status": {"disruptedPods": {"a": None}}, "x": 1}
    loaded, warnings = load("policy/v1", "PodDisruptionBudget", obj)
    assert warnings == ['unknown field "x"']
    assert loaded["status"]["disruptedPods"] == {"a": None}
