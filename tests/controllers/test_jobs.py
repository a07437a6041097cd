"""Jobs: indexes, judgements, and a Job from end to end."""

from __future__ import annotations

from typing import Any

from pilothouse.api import meta
from pilothouse.api.gvr import CORE_EVENTS, JOBS, PODS
from pilothouse.api.meta import Object
from pilothouse.controllers.job import indexes
from pilothouse.controllers.job.failure import Failures
from tests.controllers.cluster import Cluster, running

CONTROLLERS = ("job-controller", "ttl-after-finished-controller", "garbage-collector-controller")
TEMPLATE: Object = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "work:1"}]}}


def test_indexes_are_written_as_spans() -> None:
    some = indexes.parse("0,2-4,x,9-20", 12)
    assert str(some | indexes.of([6, 5, 1])) == "0-6,9-11"
    assert len(some) == 7
    assert 3 in some
    assert 5 not in some
    assert list(some.missing(7)) == [1, 5, 6]
    assert some.common(indexes.of([3, 4, 5])) == 2
    assert str(indexes.of([1, 2])) == "1,2"


def test_waits_double_with_every_failure() -> None:
    assert Failures().wait_s(5) == 0
    assert [Failures(count, 100.0).wait_s(100.0) for count in (1, 2, 3, 20)] == [10, 20, 40, 600]


async def run_job(cluster: Cluster, **spec: Any) -> None:
    await cluster.create(JOBS, "work", namespace="default", spec={"template": TEMPLATE, **spec})


async def end_pods(cluster: Cluster, phase: str) -> None:
    for pod in await cluster.list(PODS, "default"):
        if (pod.get("status") or {}).get("phase") == "Running":
            await cluster.client.patch(
                PODS, "default", meta.name_of(pod), {"status": {"phase": phase}}, subresource="status"
            )


async def finished(cluster: Cluster, phase: str) -> str:
    await end_pods(cluster, phase)
    job = await cluster.client.get(JOBS, "default", "work")
    return next(
        (one["type"] for one in job["status"].get("conditions") or () if one["type"] in ("Complete", "Failed")), ""
    )


async def test_an_indexed_job_completes_and_goes_after_its_time() -> None:
    async with running(*CONTROLLERS) as cluster:
        await run_job(cluster, completions=3, parallelism=2, completionMode="Indexed", ttlSecondsAfterFinished=30)

        async def is_complete() -> bool:
            return await finished(cluster, "Succeeded") == "Complete"

        await cluster.until(is_complete)
        job = await cluster.client.get(JOBS, "default", "work")
        assert job["status"]["succeeded"] == 3
        assert job["status"]["completedIndexes"] == "0-2"
        assert [one["type"] for one in job["status"]["conditions"]] == ["SuccessCriteriaMet", "Complete"]
        pods = await cluster.list(PODS, "default")
        assert sorted(pod["spec"]["hostname"] for pod in pods) == ["work-0", "work-1", "work-2"]
        assert not any(pod["metadata"].get("finalizers") for pod in pods)
        reasons = {event["reason"] for event in await cluster.list(CORE_EVENTS, "default")}
        assert {"SuccessfulCreate", "Completed"} <= reasons

        async def is_gone() -> bool:
            return not await cluster.list(JOBS, "default") and not await cluster.list(PODS, "default")

        await cluster.until(is_gone, within_s=120)


async def test_a_job_fails_at_its_limit() -> None:
    async with running(*CONTROLLERS) as cluster:
        await run_job(cluster, backoffLimit=1)

        async def is_failed() -> bool:
            return await finished(cluster, "Failed") == "Failed"

        await cluster.until(is_failed, within_s=120)
        job = await cluster.client.get(JOBS, "default", "work")
        assert job["status"]["failed"] == 2
        assert job["status"]["conditions"][-1]["reason"] == "BackoffLimitExceeded"
