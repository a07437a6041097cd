"""Who owns what after updates and applies."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api import gvr
from pilothouse.api.apply.last_applied import ANNOTATION
from pilothouse.api.apply.owners import MAX_UPDATERS, differ_only_in_time
from pilothouse.api.convert import convert
from pilothouse.api.status import BadRequest, Conflict, StatusError
from tests.api.apply.shorthand import NOW, fields, loaded, owners, stored, tracker

Object = dict[str, Any]
APPLY, UPDATE = "Apply", "Update"


def config_map(data: Any = None, **metadata: Any) -> Object:
    """Without data if there is none: an empty map would be a field of its own."""
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default", **metadata}}
    return {**obj, "data": data} if data else obj


def deployment(**spec: Any) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def created(obj: Object, manager: str = "creator", subresource: str = "") -> Object:
    draft = loaded(obj)
    tracker(obj["apiVersion"], obj["kind"], subresource).update(None, draft, manager, NOW)
    return stored(draft)


def updated(
    live: Object, obj: Object, manager: str = "updater", subresource: str = "", now: float = NOW + 60
) -> Object:
    draft = loaded(obj)
    draft["metadata"].setdefault("uid", "u")
    tracker(obj["apiVersion"], obj["kind"], subresource).update(live, draft, manager, now)
    return stored(draft)


def applied(
    live: Object | None, obj: Object, manager: str = "applier", *, force: bool = False, now: float = NOW + 60
) -> Object:
    at = tracker(obj["apiVersion"], obj["kind"])
    return stored(at.apply(copy.deepcopy(live), copy.deepcopy(obj), manager, now, force=force))


# Faults


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"kind": "ConfigMap"}, BadRequest, "invalid object type: /, Kind=ConfigMap"),
        ({"apiVersion": "apps/v1", "kind": "Deployment"}, BadRequest, "invalid object type: apps/v1, Kind=Deployment"),
        (config_map(managedFields=[]), BadRequest, "metadata.managedFields must be nil"),
        (
            {**config_map(), "foo": 1},
            StatusError,
            "failed to create typed patch object (default/a; /v1, Kind=ConfigMap): .foo: field not declared in schema",
        ),
    ],
)
def test_configurations_that_are_none(config: Object, error: type[StatusError], message: str) -> None:
    with pytest.raises(error) as raised:
        tracker().apply(None, config, "m", NOW)
    assert raised.value.message == message


def test_an_object_that_is_not_of_its_type_is_left_to_validation() -> None:
    draft = config_map({"a": "b"}, uid="u", labels="none", managedFields=[])
    tracker().update(created(config_map()), draft, "m", NOW)
    assert "managedFields" not in draft["metadata"]


@pytest.mark.parametrize(
    "sent",
    [
        [{"manager": "m", "operation": "Guess", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}],
        [{"manager": "m", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {}}],
        [{"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsV1": {}}],
        [{"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2", "fieldsV1": {}}],
        [{"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"x": {}}}],
    ],
)
def test_managed_fields_that_cannot_be_read_are_not_taken(sent: list[Object]) -> None:
    live = created(config_map({"a": "b"}))
    assert owners(updated(live, config_map({"a": "b"}, managedFields=sent))) == owners(live)


# Updates


def test_who_creates_owns_what_is_there() -> None:
    obj = created(config_map({"a": "b"}, labels={"l": "x"}, annotations={"n": ""}, finalizers=["f"]))
    entry = obj["metadata"]["managedFields"][0]
    assert {key: value for key, value in entry.items() if key != "fieldsV1"} == {
        "manager": "creator",
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2023-11-14T22:13:20Z",
        "fieldsType": "FieldsV1",
    }
    assert entry["fieldsV1"] == {
        "f:metadata": {
            "f:labels": {".": {}, "f:l": {}},
            "f:annotations": {".": {}, "f:n": {}},
            "f:finalizers": {".": {}, 'v:"f"': {}},
        },
        "f:data": {".": {}, "f:a": {}},
    }


def test_parts_that_always_exist_are_nobodys() -> None:
    owned = owners(created(deployment()))["creator", UPDATE]
    assert {"spec/strategy/type", "spec/strategy/rollingUpdate", "spec/selector", "spec/replicas"} <= owned
    assert "spec/template/spec/containers/name=c" in owned
    assert not {"spec", "spec/strategy", "spec/template", "spec/template/spec/containers", "metadata", "status"} & owned


def test_a_change_takes_its_field_and_no_other() -> None:
    live = created(config_map({"a": "b", "c": "d"}))
    found = updated(live, config_map({"a": "x", "c": "d", "e": "f"}))
    assert owners(found) == {("creator", UPDATE): {"data", "data/c"}, ("updater", UPDATE): {"data/a", "data/e"}}
    times = [entry["time"] for entry in found["metadata"]["managedFields"]]
    assert times == ["2023-11-14T22:13:20Z", "2023-11-14T22:14:20Z"]


def test_whoever_is_left_nothing_is_forgotten() -> None:
    live = created(config_map({"a": "b"}))
    assert owners(updated(live, config_map({"a": "x"}))) == {
        ("creator", UPDATE): {"data"},
        ("updater", UPDATE): {"data/a"},
    }
    assert owners(updated(live, config_map())) == {}


def test_an_update_that_changes_nothing_changes_no_time() -> None:
    live = created(config_map({"a": "b"}))
    assert updated(live, config_map({"a": "b"}))["metadata"]["managedFields"] == live["metadata"]["managedFields"]


def test_ones_own_fields_add_up() -> None:
    live = updated(created(config_map({"a": "b"})), config_map({"a": "b", "c": "d"}))
    found = updated(live, config_map({"a": "b", "c": "d", "e": "f"}), now=NOW + 120)
    assert owners(found)["updater", UPDATE] == {"data/c", "data/e"}
    assert found["metadata"]["managedFields"][1]["time"] == "2023-11-14T22:15:20Z"


@pytest.mark.parametrize("sent", [[], [{}]])
def test_ownership_can_be_forgotten_and_stays_so_until_an_apply(sent: list[Object]) -> None:
    found = updated(created(config_map({"a": "b"})), config_map({"a": "c"}))
    draft = config_map({"a": "c"}, uid="u", managedFields=sent)
    tracker().update(found, draft, "m", NOW)
    assert "managedFields" not in draft["metadata"]
    again = updated(draft, config_map({"a": "d"}))
    assert "managedFields" not in again["metadata"]
    first = applied(again, config_map({"b": "c"}))
    assert owners(first) == {("applier", APPLY): {"data/b"}, ("before-first-apply", UPDATE): {"data", "data/a"}}


def test_managed_fields_can_be_written() -> None:
    live = updated(created(config_map({"a": "b"})), config_map({"a": "b", "c": "d"}))
    kept = [live["metadata"]["managedFields"][1]]
    assert owners(updated(live, config_map({"a": "b", "c": "d"}, managedFields=kept))) == {
        ("updater", UPDATE): {"data/c"}
    }


def test_through_a_subresource_they_cannot() -> None:
    live = created(deployment())
    draft = deployment()
    draft["metadata"]["managedFields"] = [{}]
    assert owners(updated(live, draft, subresource="status")) == owners(live)


def test_the_status_and_the_rest_are_kept_apart() -> None:
    live = created({**deployment(), "status": {"replicas": 7}})
    assert not any(path.startswith("status") for path in owners(live)["creator", UPDATE])
    draft = {**deployment(replicas=9), "status": {"replicas": 3}}
    draft["metadata"] = {"name": "web", "labels": {"l": "x"}, "annotations": {"n": "x"}}
    found = updated(live, draft, "controller", "status")
    entry = found["metadata"]["managedFields"][1]
    assert (entry["manager"], entry["subresource"]) == ("controller", "status")
    assert owners(found)["controller", UPDATE] == {"metadata/annotations", "metadata/annotations/n", "status/replicas"}


@pytest.mark.parametrize("subresource", ["resize", "ephemeralcontainers"])
def test_who_writes_through_another_door_owns_what_it_said(subresource: str) -> None:
    """Though that door reaches only a part: upstream's storage does not tell its strategy's filters."""

    def pod(**container: Any) -> Object:
        spec = {"containers": [{"name": "c", "image": "i", **container}]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}

    found = updated(created(pod()), pod(image="other"), "m", subresource)
    assert owners(found)["m", UPDATE] == {"spec/containers/name=c/image"}


def test_at_most_ten_update_managers_are_kept_apart() -> None:
    data = {"k": "v"}
    live = created(config_map(data), "creator")
    for number in range(MAX_UPDATERS + 2):
        data = {**data, f"k{number}": ""}
        live = updated(live, config_map(data), f"m{number:02}", now=NOW + number)
    found = owners(live)
    assert len(found) == MAX_UPDATERS
    assert found["ancient-changes", UPDATE] == {"data", "data/k", "data/k0", "data/k1", "data/k2"}


def test_entries_stand_in_order() -> None:
    live = applied(None, config_map({"a": "b"}), "z", now=NOW + 9)
    live = applied(live, config_map({"b": "b"}), "y", now=NOW + 5)
    live = updated(live, config_map({"a": "b", "b": "b", "c": ""}), "b", now=NOW + 7)
    live = updated(live, config_map({"a": "b", "b": "b", "c": "", "d": ""}), "a", now=NOW + 7)
    assert [entry["manager"] for entry in live["metadata"]["managedFields"]] == ["y", "z", "a", "b"]


# Apply


def test_applying_creates() -> None:
    found = applied(None, config_map({"a": "b"}, labels={"l": "x"}))
    assert found["data"] == {"a": "b"}
    assert owners(found) == {("applier", APPLY): {"data/a", "metadata/labels/l"}}


def test_applying_the_same_again_changes_nothing() -> None:
    live = applied(None, deployment(replicas=2))
    assert applied(live, deployment(replicas=2), now=NOW + 600) == live


def test_what_is_not_applied_any_more_goes() -> None:
    live = applied(None, config_map({"a": "b", "c": "d"}, labels={"l": "x"}))
    found = applied(live, config_map({"a": "b"}))
    assert found["data"] == {"a": "b"}
    assert "labels" not in found["metadata"]
    assert owners(found) == {("applier", APPLY): {"data/a"}}


def test_unless_somebody_else_owns_it() -> None:
    live = applied(None, config_map({"a": "b", "c": "d"}))
    live = applied(live, config_map({"c": "d"}), "other")
    found = applied(live, config_map({"a": "b"}))
    assert found["data"] == {"a": "b", "c": "d"}
    assert owners(found) == {("applier", APPLY): {"data/a"}, ("other", APPLY): {"data/c"}}


def test_an_item_goes_but_for_what_others_put_into_it() -> None:
    def pod(*containers: Object) -> Object:
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": list(containers)}}

    live = applied(None, pod({"name": "a", "image": "i"}, {"name": "b", "image": "i"}))
    gone = applied(live, pod({"name": "a", "image": "i"}))
    assert [item["name"] for item in gone["spec"]["containers"]] == ["a"]
    shared = applied(live, pod({"name": "b", "workingDir": "/"}), "other")
    kept = applied(shared, pod({"name": "a", "image": "i"}))
    assert [(item["name"], item.get("image")) for item in kept["spec"]["containers"]] == [("a", "i"), ("b", None)]


def test_defaults_stay_with_their_item() -> None:
    live = applied(None, deployment(replicas=2))
    found = applied(live, deployment())
    assert found["spec"]["replicas"] == 1
    assert found["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] == "Always"


def test_a_conflict_with_one_field() -> None:
    live = updated(applied(None, deployment(replicas=1)), deployment(replicas=2), "kubectl-edit")
    with pytest.raises(Conflict) as raised:
        applied(live, deployment(replicas=3))
    message = 'Apply failed with 1 conflict: conflict with "kubectl-edit" using apps/v1: .spec.replicas'
    assert raised.value.message == message
    assert raised.value.to_object() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "Conflict",
        "details": {
            "causes": [
                {
                    "reason": "FieldManagerConflict",
                    "message": 'conflict with "kubectl-edit" using apps/v1',
                    "field": ".spec.replicas",
                }
            ]
        },
        "code": 409,
    }


def test_conflicts_with_many() -> None:
    live = applied(created(config_map({"a": "", "b": ""})), config_map({"c": ""}), "other")
    with pytest.raises(Conflict) as raised:
        applied(live, config_map({"a": "1", "b": "1", "c": "1"}))
    assert raised.value.message == (
        'Apply failed with 3 conflicts: conflicts with "creator" using v1:\n- .data.a\n- .data.b\n'
        'conflicts with "other":\n- .data.c'
    )


def test_force_takes_what_others_own() -> None:
    live = applied(created(config_map({"a": "", "b": ""})), config_map({"c": ""}), "other")
    found = applied(live, config_map({"a": "1", "b": "", "c": "1"}), force=True)
    assert owners(found) == {
        ("applier", APPLY): {"data/a", "data/b", "data/c"},
        ("creator", UPDATE): {"data", "data/b"},
    }
    assert found["data"] == {"a": "1", "b": "", "c": "1"}


def test_the_same_value_is_shared() -> None:
    live = applied(None, config_map({"a": "1"}))
    found = applied(live, config_map({"a": "1"}), "other")
    assert owners(found) == {("applier", APPLY): {"data/a"}, ("other", APPLY): {"data/a"}}
    with pytest.raises(Conflict):
        applied(found, config_map({"a": "2"}))


def test_who_updates_what_he_applied_conflicts_with_himself() -> None:
    live = updated(applied(None, config_map({"a": "1"}), "me"), config_map({"a": "2"}), "me")
    assert owners(live) == {("me", UPDATE): {"data/a"}}
    with pytest.raises(Conflict):
        applied(live, config_map({"a": "1"}), "me")


def test_an_atomic_field_is_one() -> None:
    live = applied(None, deployment())
    other = deployment(selector={"matchLabels": {"a": "c"}})
    with pytest.raises(Conflict, match=r"\.spec\.selector$"):
        applied(live, other, "other")


def test_fields_that_nobody_owns_may_be_in_the_way() -> None:
    live = created(config_map({"a": "1"}))
    live["metadata"]["managedFields"][0]["fieldsV1"] = fields("data")
    assert applied(live, config_map({"a": "2"}))["data"] == {"a": "2"}


# From client-side apply


def client_side(config: Object) -> Object:
    obj = copy.deepcopy(config)
    obj["metadata"]["annotations"] = {ANNOTATION: orjson.dumps(config).decode() + "\n"}
    return created(obj, "kubectl-client-side-apply")


def test_kubectl_may_change_what_it_applied_on_the_clients_side() -> None:
    live = client_side(deployment(replicas=2))
    found = applied(live, deployment(replicas=3), "kubectl")
    assert found["spec"]["replicas"] == 3
    assert "spec/replicas" not in owners(found)["kubectl-client-side-apply", UPDATE]
    assert orjson.loads(found["metadata"]["annotations"][ANNOTATION]) == deployment(replicas=3)
    with pytest.raises(Conflict):
        applied(live, deployment(replicas=3), "somebody")


def test_but_not_what_was_changed_since() -> None:
    live = client_side(deployment(replicas=2))
    scaled = copy.deepcopy(live)
    scaled["spec"]["replicas"] = 5
    live = updated(live, {**scaled, "metadata": {**scaled["metadata"]}}, "autoscaler")
    with pytest.raises(Conflict, match=r'"autoscaler" using apps/v1: \.spec\.replicas$'):
        applied(live, deployment(replicas=3), "kubectl")


@pytest.mark.parametrize("annotation", ["", "{", "[]", '{"apiVersion":"apps/v2"}', '{"apiVersion":"apps/v1","x":1}'])
def test_an_annotation_that_cannot_be_read_allows_nothing(annotation: str) -> None:
    live = client_side(deployment(replicas=2))
    live["metadata"]["annotations"][ANNOTATION] = annotation
    with pytest.raises(Conflict):
        applied(live, deployment(replicas=3), "kubectl")


# Versions


def test_owners_at_another_version_keep_theirs() -> None:
    def autoscaler(version: str, maximum: int, **spec: Any) -> Object:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        return {
            "apiVersion": f"autoscaling/{version}",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a"},
            "spec": {"scaleTargetRef": target, "maxReplicas": maximum, **spec},
        }

    live = applied(None, autoscaler("v1", 3, minReplicas=2), "one")
    at_v2 = tracker("autoscaling/v2", "HorizontalPodAutoscaler")
    seen = convert(live, gvr.HORIZONTAL_POD_AUTOSCALERS_V1, gvr.HORIZONTAL_POD_AUTOSCALERS)
    with pytest.raises(Conflict, match=r'"one": \.spec\.maxReplicas'):
        at_v2.apply(copy.deepcopy(seen), autoscaler("v2", 4), "two", NOW)
    forced = at_v2.apply(copy.deepcopy(seen), autoscaler("v2", 4), "two", NOW, force=True)
    assert "spec/maxReplicas" not in owners(forced)["one", APPLY]
    assert "spec/minReplicas" in owners(forced)["one", APPLY]
    moved = at_v2.apply(copy.deepcopy(seen), autoscaler("v2", 3), "one", NOW)
    assert "minReplicas" not in moved["spec"]
    assert moved["metadata"]["managedFields"][0]["apiVersion"] == "autoscaling/v2"


def test_owners_at_a_version_that_is_gone_are_forgotten() -> None:
    live = created(config_map({"a": "b"}))
    live["metadata"]["managedFields"][0]["apiVersion"] = "v0"
    assert owners(updated(live, config_map({"a": "c"}))) == {("updater", UPDATE): {"data/a"}}


# Properties

DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2"]), max_size=4)


@settings(max_examples=150)
@given(DATA, DATA)
def test_applying_twice_is_applying_once(before: dict[str, str], config: dict[str, str]) -> None:
    live = applied(created(config_map(before)), config_map(config), force=True)
    assert applied(live, config_map(config), force=True, now=NOW + 600) == live
    assert applied(live, config_map(config), now=NOW + 600) == live
    assert {key: live["data"][key] for key in config} == config if config else True


@settings(max_examples=150)
@given(DATA, DATA, DATA)
def test_two_who_own_different_fields_may_come_in_any_order(
    first: dict[str, str], second: dict[str, str], live: dict[str, str]
) -> None:
    second = {key: value for key, value in second.items() if key not in first}
    live = {key: value for key, value in live.items() if key not in first and key not in second}
    base = applied(None, config_map(live), "base")
    one = applied(applied(base, config_map(first), "x"), config_map(second), "y")
    two = applied(applied(base, config_map(second), "y"), config_map(first), "x")
    assert one.get("data") == two.get("data")
    assert owners(one) == owners(two)


@settings(max_examples=150)
@given(DATA, DATA, DATA)
def test_the_last_configuration_holds(before: dict[str, str], first: dict[str, str], second: dict[str, str]) -> None:
    live = created(config_map(before))
    found = applied(applied(live, config_map(first), force=True), config_map(second), force=True)
    assert (found.get("data") or {}) == {
        **{key: value for key, value in before.items() if key not in first},
        **{key: value for key, value in first.items() if key in before and value == before[key]},
        **second,
    }


def test_times_alone_make_no_difference() -> None:
    live = created(config_map({"a": "b"}))["metadata"]["managedFields"]
    later = [{**entry, "time": "2030-01-01T00:00:00Z"} for entry in live]
    assert differ_only_in_time(later, live)
    assert not differ_only_in_time(live, live)
    assert not differ_only_in_time([{**later[0], "manager": "x"}], live)


def test_what_a_client_says_of_a_version_that_is_not_served_is_left_out() -> None:
    live = created(config_map({"k": "v"}))
    entry = {
        "manager": "z",
        "operation": UPDATE,
        "apiVersion": "v9",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {}},
    }
    said = config_map({"k": "v"})
    said["metadata"]["managedFields"] = [entry]
    assert "managedFields" not in updated(live, said, "m")["metadata"]
