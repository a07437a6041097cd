"""Deletion: at once, gracefully, with finalizers; of namespaces; by eviction."""

from __future__ import annotations

import pytest

from pilothouse.api import gvr, status
from pilothouse.api.kinds.batch.job import JOB
from pilothouse.api.kinds.core.config_map import CONFIG_MAP
from pilothouse.api.kinds.core.event import EVENT
from pilothouse.api.kinds.core.pod import POD
from pilothouse.api.kinds.core.replication_controller import REPLICATION_CONTROLLER
from pilothouse.api.resource import Resource
from pilothouse.apiserver.deletion import Step, plan_deletion
from pilothouse.apiserver.options import DeleteOptions
from pilothouse.client.client import Propagation
from tests.apiserver.harness import Harness, config_map, pod

NOW = 1_700_000_000.0


@pytest.fixture
def server() -> Harness:
    return Harness()


def scheduled(**metadata: object) -> dict[str, object]:
    return {
        "metadata": {"name": "p", "generation": 1, **metadata},
        "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30},
        "status": {"phase": "Running"},
    }


@pytest.mark.parametrize(
    ("grace", "step", "period", "end"),
    [
        (None, Step.MARK, 30, "2023-11-14T22:13:50Z"),
        (5, Step.MARK, 5, "2023-11-14T22:13:25Z"),
        (-3, Step.MARK, 1, "2023-11-14T22:13:21Z"),
        (0, Step.MARK_THEN_REMOVE, 0, "2023-11-14T22:13:20Z"),
    ],
)
def test_a_running_pod_gets_its_grace(grace: int | None, step: Step, period: int, end: str) -> None:
    plan = plan_deletion(POD, scheduled(), DeleteOptions(grace_period_s=grace), NOW)
    assert plan.step is step
    assert plan.metadata["deletionGracePeriodSeconds"] == period
    assert plan.metadata["deletionTimestamp"] == end
    assert plan.metadata["generation"] == 2


def test_a_client_may_name_a_longer_period_than_the_pod_has() -> None:
    impatient = scheduled()
    impatient["spec"] = {"nodeName": "n", "terminationGracePeriodSeconds": 0}
    plan = plan_deletion(POD, impatient, DeleteOptions(grace_period_s=60), NOW)
    assert (plan.step, plan.metadata["deletionGracePeriodSeconds"]) == (Step.MARK, 60)
    assert plan_deletion(POD, impatient, DeleteOptions(), NOW).step is Step.MARK_THEN_REMOVE


def test_grace_can_only_be_shortened() -> None:
    dying = scheduled(deletionTimestamp="2023-11-14T22:13:50Z", deletionGracePeriodSeconds=30)
    assert plan_deletion(POD, dying, DeleteOptions(grace_period_s=40), NOW).step is Step.NOTHING
    assert plan_deletion(POD, dying, DeleteOptions(), NOW).step is Step.NOTHING
    shorter = plan_deletion(POD, dying, DeleteOptions(grace_period_s=10), NOW)
    assert shorter.step is Step.MARK
    assert shorter.metadata["deletionTimestamp"] == "2023-11-14T22:13:30Z"
    late = plan_deletion(POD, dying, DeleteOptions(grace_period_s=10), NOW + 20)
    assert (late.metadata["deletionTimestamp"], late.metadata["deletionGracePeriodSeconds"]) == (
        "2023-11-14T22:13:40Z",
        1,
    )
    assert plan_deletion(POD, dying, DeleteOptions(grace_period_s=0), NOW).step is Step.MARK_THEN_REMOVE


@pytest.mark.parametrize(
    ("options", "present", "finalizers"),
    [
        (DeleteOptions(propagation="Foreground"), [], ["foregroundDeletion"]),
        (DeleteOptions(propagation="Orphan"), ["x"], ["x", "orphan"]),
        (DeleteOptions(orphan_dependents=True), [], ["orphan"]),
        (DeleteOptions(), ["orphan"], ["orphan"]),
    ],
)
def test_propagation_becomes_finalizers(options: DeleteOptions, present: list[str], finalizers: list[str]) -> None:
    obj = {"metadata": {"name": "a", "finalizers": present}}
    plan = plan_deletion(CONFIG_MAP, obj, options, NOW)
    assert plan.step is Step.MARK
    assert plan.metadata["finalizers"] == finalizers


def test_a_background_deletion_takes_the_other_finalizers_away() -> None:
    obj = {"metadata": {"name": "a", "finalizers": ["orphan"]}}
    assert plan_deletion(CONFIG_MAP, obj, DeleteOptions(propagation="Background"), NOW).step is Step.REMOVE


async def test_what_is_not_there_cannot_be_deleted(server: Harness) -> None:
    with pytest.raises(status.NotFound, match='configmaps "a" not found'):
        await server.client.delete(gvr.CONFIG_MAPS, "default", "a")


async def test_preconditions(server: Harness) -> None:
    await server.client.create(gvr.CONFIG_MAPS, config_map())
    with pytest.raises(status.Conflict, match="the UID in the precondition \\(x\\) does not match"):
        await server.client.delete(gvr.CONFIG_MAPS, "default", "a", uid="x")
    with pytest.raises(status.Conflict, match="the ResourceVersion in the precondition"):
        await server.client.delete(gvr.CONFIG_MAPS, "default", "a", resource_version="9999")


@pytest.mark.parametrize("resource", [JOB, REPLICATION_CONTROLLER])
def test_first_versions_orphan_unless_told_otherwise(resource: Resource) -> None:
    def finalizers(options: DeleteOptions, *present: str) -> list[str]:
        obj = {"metadata": {"name": "a", "finalizers": list(present)}}
        return plan_deletion(resource, obj, options, NOW).metadata.get("finalizers", [])

    assert finalizers(DeleteOptions()) == ["orphan"]
    assert finalizers(DeleteOptions(), "foregroundDeletion") == ["foregroundDeletion"]
    assert finalizers(DeleteOptions(propagation="Background")) == []
    assert finalizers(DeleteOptions(orphan_dependents=False)) == []


@pytest.mark.parametrize("options", [DeleteOptions(propagation="Foreground"), DeleteOptions(orphan_dependents=True)])
def test_an_event_has_no_dependents_to_wait_for(options: DeleteOptions) -> None:
    assert plan_deletion(EVENT, {"metadata": {"name": "e"}}, options, NOW).step is Step.REMOVE


@pytest.mark.parametrize(
    "body",
    [
        {"propagationPolicy": "Sideways"},
        {"propagationPolicy": "Orphan", "orphanDependents": True},
        {"dryRun": ["Some"]},
    ],
)
async def test_bad_options_are_refused(server: Harness, body: dict[str, object]) -> None:
    await server.client.create(gvr.CONFIG_MAPS, config_map())
    answer = await server.json("DELETE", "/api/v1/namespaces/default/configmaps/a", body=body)
    assert (answer["code"], answer["reason"]) == (422, "Invalid")


async def test_an_object_goes_with_its_last_finalizer(server: Harness) -> None:
    sent = config_map()
    sent["metadata"]["finalizers"] = ["example.com/f"]
    await server.client.create(gvr.CONFIG_MAPS, sent)
    dying = await server.client.delete(gvr.CONFIG_MAPS, "default", "a")
    assert dying["metadata"]["deletionTimestamp"]
    again = await server.client.get(gvr.CONFIG_MAPS, "default", "a")
    with pytest.raises(status.Invalid, match="no new finalizers can be added if the object is being deleted"):
        await server.client.patch(
            gvr.CONFIG_MAPS, "default", "a", {"metadata": {"finalizers": ["example.com/f", "example.com/g"]}}
        )
    again["metadata"]["finalizers"] = []
    await server.client.update(gvr.CONFIG_MAPS, again)
    with pytest.raises(status.NotFound):
        await server.client.get(gvr.CONFIG_MAPS, "default", "a")


async def test_deletion_tells_what_is_gone(server: Harness) -> None:
    created = await server.client.create(gvr.CONFIG_MAPS, config_map())
    answer = await server.client.delete(gvr.CONFIG_MAPS, "default", "a")
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert answer["details"] == {"name": "a", "kind": "configmaps", "uid": created["metadata"]["uid"]}


async def test_a_pod_without_a_node_goes_at_once(server: Harness) -> None:
    await server.client.create(gvr.PODS, pod())
    gone = await server.client.delete(gvr.PODS, "default", "p")
    assert gone["metadata"]["deletionGracePeriodSeconds"] == 0
    with pytest.raises(status.NotFound):
        await server.client.get(gvr.PODS, "default", "p")


async def test_a_collection_is_deleted_by_selector(server: Harness) -> None:
    for name in ("a", "b", "c"):
        await server.client.create(gvr.PODS, pod(name))
    answer = await server.json("DELETE", "/api/v1/namespaces/default/pods", query="labelSelector=app+in+(a,b)")
    assert [item["metadata"]["name"] for item in answer["items"]] == ["a", "b"]
    assert [item["metadata"]["name"] for item in (await server.client.list(gvr.PODS)).items] == ["c"]


@pytest.mark.parametrize(
    ("query", "is_warned"), [("", True), ("propagationPolicy=Background", False), ("orphanDependents=true", False)]
)
async def test_who_deletes_jobs_is_told_that_pods_stay(server: Harness, query: str, is_warned: bool) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    await server.client.create(
        gvr.JOBS, {"metadata": {"name": "j", "namespace": "default"}, "spec": {"template": template}}
    )
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    for path in (jobs, f"{jobs}/j"):
        response = await server.request("DELETE", path, query=query)
        assert ("child pods are preserved by default" in response.headers.get("warning", "")) is is_warned


async def test_a_namespace_ends_when_it_is_finalized(server: Harness) -> None:
    await server.client.create(gvr.NAMESPACES, {"metadata": {"name": "n"}})
    dying = await server.client.delete(gvr.NAMESPACES, "", "n", propagation=Propagation.BACKGROUND)
    assert dying["status"]["phase"] == "Terminating"
    assert dying["spec"]["finalizers"] == ["kubernetes"]
    dying["spec"]["finalizers"] = []
    await server.client.update(gvr.NAMESPACES, dying, subresource="finalize")
    with pytest.raises(status.NotFound):
        await server.client.get(gvr.NAMESPACES, "", "n")


async def test_eviction_asks_the_disruption_budget(server: Harness) -> None:
    await server.client.create(gvr.PODS, pod("p", nodeName="n"))
    running = await server.client.get(gvr.PODS, "default", "p")
    running["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await server.client.update_status(gvr.PODS, running)
    budget = {"metadata": {"name": "b", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"app": "p"}}}}
    created = await server.client.create(gvr.POD_DISRUPTION_BUDGETS, budget)
    created["status"] = {
        "observedGeneration": 1,
        "disruptionsAllowed": 0,
        "currentHealthy": 1,
        "desiredHealthy": 1,
        "expectedPods": 1,
    }
    created = await server.client.update_status(gvr.POD_DISRUPTION_BUDGETS, created)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"}}
    arguments = {"namespace": "default", "name": "p", "subresource": "eviction"}
    with pytest.raises(
        status.TooManyRequests, match="Cannot evict pod as it would violate the pod's disruption budget"
    ) as caught:
        await server.client.create(gvr.PODS, eviction, **arguments)
    assert caught.value.causes[0].message == "The disruption budget b needs 1 healthy pods and has 1 currently"
    created["status"]["disruptionsAllowed"] = 1
    await server.client.update_status(gvr.POD_DISRUPTION_BUDGETS, created)
    await server.client.create(gvr.PODS, eviction, **arguments)
    evicted = await server.client.get(gvr.PODS, "default", "p")
    assert evicted["metadata"]["deletionGracePeriodSeconds"] == 30
    spent = await server.client.get(gvr.POD_DISRUPTION_BUDGETS, "default", "b")
    assert spent["status"]["disruptionsAllowed"] == 0
    assert set(spent["status"]["disruptedPods"]) == {"p"}


async def test_a_deletion_by_query_has_preconditions(server: Harness) -> None:
    await server.json("POST", "/api/v1/namespaces/default/configmaps", body=config_map())
    for query in ("uid=else", "resourceVersion=77"):
        answer = await server.json("DELETE", "/api/v1/namespaces/default/configmaps/a", query=query)
        assert (answer["code"], "in the precondition" in answer["message"]) == (409, True)


async def test_finalizers_of_a_namespace_have_names(server: Harness) -> None:
    path = "/api/v1/namespaces/n"
    await server.json("POST", "/api/v1/namespaces", body={"metadata": {"name": "n"}})
    found = await server.json("GET", path)
    found["spec"]["finalizers"] = ["kubernetes", "nonsense"]
    refused = await server.json("PUT", f"{path}/finalize", body=found)
    assert (refused["code"], refused["reason"]) == (422, "Invalid")
    assert refused["details"]["causes"][0]["field"] == "spec.finalizers[1]"
    found["spec"]["finalizers"] = ["example.com/hold"]
    assert (await server.json("PUT", f"{path}/finalize", body=found))["spec"]["finalizers"] == ["example.com/hold"]
