"""Rolling out, step by step: the plan against a model that makes ReplicaSets do as they are told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.gvr import DEPLOYMENTS
from pilothouse.api.meta import Object, condition_of, controller_reference
from pilothouse.api.view import json_copy
from pilothouse.controllers.deployment.plan import Actions, plan
from pilothouse.controllers.deployment.revision import fingerprint, new_replica_set, template_hash

NOW = 1_700_000_000.0


def deployment(replicas: int = 10, *, image: str = "v1", **spec: Any) -> Object:
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "d1", "generation": 1, "annotations": {"team": "a"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 2,
        }
        | spec,
    }


class Model:
    """A Deployment with its ReplicaSets, on which plans are carried out."""

    def __init__(self, obj: Object) -> None:
        self.deployment = obj
        self.sets: dict[str, Object] = {}
        self.now = NOW
        self.messages: list[str] = []
        self.pods_remain = False

    def step(self) -> Actions:
        before = json_copy({"d": self.deployment, "s": list(self.sets.values())})
        actions = plan(self.deployment, list(self.sets.values()), lambda new: self.pods_remain, self.now)
        assert before == json_copy({"d": self.deployment, "s": list(self.sets.values())}), "a plan changes nothing"
        if actions.create is not None:
            created = json_copy(actions.create)
            created["metadata"] |= {
                "uid": f"rs{len(self.sets)}",
                "generation": 1,
                "creationTimestamp": f"2024-01-{len(self.sets) + 10}T00:00:00Z",
            }
            self.sets[created["metadata"]["name"]] = created
        for update in actions.update:
            self.sets[update.replica_set["metadata"]["name"]] = json_copy(update.replica_set)
            if update.message:
                self.messages.append(update.message)
        for gone in actions.delete:
            del self.sets[gone["metadata"]["name"]]
        self.deployment = json_copy(self.deployment)
        self.deployment["status"] = actions.status
        self.deployment["metadata"]["annotations"] = dict(actions.annotations)
        return actions

    def make(self, *, available: bool = True, only: str = "") -> None:
        for name, one in self.sets.items():
            count = one["spec"]["replicas"]
            good = available or name == only
            former = one.get("status", {}).get("availableReplicas", 0)
            one["status"] = {
                "replicas": count,
                "availableReplicas": count if good else min(count, former),
                "readyReplicas": count if good else min(count, former),
                "observedGeneration": one["metadata"]["generation"],
                "terminatingReplicas": 0,
            }

    def settle(self, rounds: int = 30) -> None:
        for _ in range(rounds):
            self.step()
            self.make()

    def sizes(self) -> list[int]:
        return [one["spec"]["replicas"] for one in self.sets.values()]

    def update(self, **changes: Any) -> None:
        self.deployment = json_copy(self.deployment)
        self.deployment["spec"] |= changes
        self.deployment["metadata"]["generation"] += 1

    def set_image(self, image: str) -> None:
        template = json_copy(self.deployment["spec"]["template"])
        template["spec"]["containers"][0]["image"] = image
        self.update(template=template)

    def reason(self, type_: str) -> str:
        condition = condition_of(self.deployment["status"]["conditions"], type_)
        assert condition is not None
        return str(condition["reason"])


def test_a_rollout_that_gets_nowhere_times_out_and_keeps_what_works() -> None:
    model = Model(deployment())
    model.settle()
    good = next(iter(model.sets))
    model.set_image("broken")
    for _ in range(10):
        model.step()
        model.make(available=False, only=good)
    assert model.sizes() == [8, 5]
    assert model.reason("Available") == "MinimumReplicasAvailable"
    assert model.reason("Progressing") == "ReplicaSetUpdated"
    again_s = model.step().again_s
    assert again_s is not None
    model.now += 601
    model.step()
    assert model.reason("Progressing") == "ProgressDeadlineExceeded"
    assert model.step().again_s is None


def test_while_paused_nothing_rolls_but_sizes_follow() -> None:
    model = Model(deployment(4))
    model.settle()
    model.set_image("v2")
    model.update(paused=True)
    model.settle()
    assert model.sizes() == [4]
    assert model.reason("Progressing") == "DeploymentPaused"
    model.update(replicas=6)
    model.settle()
    assert model.sizes() == [6]
    model.update(paused=False)
    model.settle()
    assert model.sizes() == [0, 6]


def test_a_new_deployment_is_created_whole_and_completes() -> None:
    model = Model(deployment(3))
    first = model.step()
    assert first.create is not None
    assert first.create["spec"]["replicas"] == 3
    assert first.create["metadata"]["annotations"] == {
        "team": "a",
        "deployment.kubernetes.io/revision": "1",
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
    }
    assert first.create["metadata"]["ownerReferences"] == [controller_reference(model.deployment, DEPLOYMENTS)]
    assert model.reason("Progressing") == "NewReplicaSetCreated"
    model.settle()
    assert model.reason("Progressing") == "NewReplicaSetAvailable"
    assert model.deployment["status"]["updatedReplicas"] == 3
    assert model.deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert model.step() == model.step(), "nothing is left to do"


def test_a_rolling_update_stays_within_its_fences() -> None:
    model = Model(deployment(10))
    model.settle()
    model.set_image("v2")
    for _ in range(30):
        model.step()
        sizes = model.sizes()
        available = sum(
            min(one["spec"]["replicas"], one.get("status", {}).get("availableReplicas", 0))
            for one in model.sets.values()
        )
        assert sum(sizes) <= 13
        assert available >= 8
        model.make()
    assert model.sizes() == [0, 10]
    assert model.messages[0].startswith("Scaled down replica set web-")


def test_going_back_reuses_the_old_replica_set_with_a_new_revision() -> None:
    model = Model(deployment(2))
    model.settle()
    model.set_image("v2")
    model.settle()
    model.set_image("v1")
    model.settle()
    assert model.sizes() == [2, 0]
    annotations = next(iter(model.sets.values()))["metadata"]["annotations"]
    assert annotations["deployment.kubernetes.io/revision"] == "3"
    assert annotations["deployment.kubernetes.io/revision-history"] == "1"
    assert model.deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_history_is_limited() -> None:
    model = Model(deployment(1))
    for version in range(6):
        model.set_image(f"v{version}")
        model.settle(10)
    assert model.sizes() == [0, 0, 1]


def test_recreate_waits_until_the_last_old_pod_is_gone() -> None:
    model = Model(deployment(3, strategy={"type": "Recreate"}))
    model.settle()
    model.set_image("v2")
    model.pods_remain = True
    model.settle()
    assert model.sizes() == [0]
    model.pods_remain = False
    model.settle()
    assert model.sizes() == [0, 3]


@pytest.mark.parametrize(("replicas", "expected"), [(20, [15, 10]), (5, [4, 3]), (0, [0, 0])])
def test_scaling_in_the_middle_of_a_rollout_is_proportional(replicas: int, expected: list[int]) -> None:
    model = Model(deployment(10))
    model.settle()
    good = next(iter(model.sets))
    model.set_image("broken")
    for _ in range(10):
        model.step()
        model.make(available=False, only=good)
    assert model.sizes() == [8, 5]
    model.update(replicas=replicas)
    model.step()
    assert model.sizes() == expected


def test_equal_templates_have_equal_hashes_whatever_the_order_of_fields() -> None:
    one = {"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [], "volumes": []}}
    other = {"spec": {"volumes": [], "containers": []}, "metadata": {"labels": {"a": "1"}, "annotations": {}}}
    assert fingerprint(one) == fingerprint(other)
    assert template_hash(one, None) == template_hash(other, None)
    assert template_hash(one, None) != template_hash(one, 1)


def test_a_long_name_leaves_room_for_the_hash() -> None:
    obj = deployment()
    obj["metadata"]["name"] = "n" * 253
    assert len(new_replica_set(obj, 1)["metadata"]["name"]) == 253


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("scale"), st.integers(0, 12)),
            st.tuples(st.just("image"), st.integers(0, 3)),
            st.tuples(st.just("pause"), st.integers(0, 1)),
            st.tuples(st.just("steps"), st.integers(1, 4)),
            st.tuples(st.just("broken steps"), st.integers(1, 4)),
        ),
        max_size=14,
    ),
    st.sampled_from(["0", "1", "25%", "100%"]),
    st.sampled_from(["0", "1", "25%", "100%"]),
)
def test_whatever_happens_on_the_way_it_ends_as_wanted(
    steps: list[tuple[str, int]], surge: str, unavailable: str
) -> None:
    fences = [int(fence) if fence.isdecimal() else fence for fence in (surge, unavailable)]
    rolling = {"maxSurge": fences[0], "maxUnavailable": fences[1]}
    model = Model(deployment(3, strategy={"type": "RollingUpdate", "rollingUpdate": rolling}))
    for action, value in steps:
        match action:
            case "scale":
                model.update(replicas=value)
            case "image":
                model.set_image(f"v{value}")
            case "pause":
                model.update(paused=bool(value))
            case _:
                for _ in range(value):
                    model.step()
                    model.make(available=action == "steps")
    model.update(paused=False)
    model.settle(60)
    wanted = fingerprint(model.deployment["spec"]["template"])
    for one in model.sets.values():
        is_new = fingerprint(one["spec"]["template"]) == wanted
        assert one["spec"]["replicas"] == (model.deployment["spec"]["replicas"] if is_new else 0)
    assert model.reason("Progressing") == "NewReplicaSetAvailable"
    last = model.step()
    assert (last.create, last.update, last.delete) == (None, (), ())
