from pilothouse.api.gvr import CONFIG_MAPS, PODS, RESOURCE_QUOTAS, VALIDATING_ADMISSION_POLICIES
from pilothouse.api.quota.amounts import read
from pilothouse.controllers.resource_quota import RESYNC_S, new_status
from tests.controllers.cluster import running

CONTAINER = {"name": "c", "image": "x", "resources": {"requests": {"cpu": "100m"}}}


def quota(bounds, **status):
    return {"spec": {"hard": bounds}, "status": status}


def test_the_status_follows_the_count():
    assert new_status(quota({"pods": "2"}), read({"pods": "1"})) == {"hard": {"pods": "2"}, "used": {"pods": "1"}}
    same = quota({"pods": "2", "cpu": "1"}, hard={"pods": "2", "cpu": "1000m"}, used={"pods": "1", "cpu": "1"})
    assert new_status(same, read({"pods": "1", "cpu": "1000m"})) is None


def test_what_is_no_longer_bounded_is_forgotten_and_what_nobody_counts_stays():
    before = quota({"pods": "2", "x": "5"}, hard={"pods": "2"}, used={"pods": "1", "secrets": "3", "x": "4"})
    assert new_status(before, read({"pods": "0"}))["used"] == {"pods": "0", "x": "4"}


async def used(cluster):
    return ((await cluster.client.get(RESOURCE_QUOTAS, "default", "q")).get("status") or {}).get("used")


async def test_counted_at_first_after_deletions_and_now_and_then():
    async with running("resourcequota-controller") as cluster:
        for name in ("a", "b"):
            await cluster.create(PODS, name, namespace="default", spec={"containers": [CONTAINER]})
        await cluster.create(CONFIG_MAPS, "c", namespace="default")
        hard = {"pods": "5", "requests.cpu": "1", "configmaps": "9", "count/deployments.apps": "1"}
        await cluster.create(RESOURCE_QUOTAS, "q", namespace="default", spec={"hard": hard})

        async def counts(expected):
            return await used(cluster) == expected

        first = {"pods": "2", "requests.cpu": "200m", "configmaps": "1", "count/deployments.apps": "0"}
        await cluster.until(lambda: counts(first))
        await cluster.client.delete(PODS, "default", "a", grace_period_s=0)
        await cluster.client.delete(CONFIG_MAPS, "default", "c")
        second = {**first, "pods": "1", "requests.cpu": "100m", "configmaps": "0"}
        await cluster.until(lambda: counts(second), within_s=5)
        found = await cluster.client.get(RESOURCE_QUOTAS, "default", "q")
        leaked = {**found["status"], "used": {**second, "pods": "3"}}
        await cluster.client.update_status(RESOURCE_QUOTAS, {**found, "status": leaked})
        await cluster.until(lambda: counts(second), within_s=RESYNC_S + 5, step_s=10)


async def test_policies_are_checked_for_types():
    async with running("validatingadmissionpolicy-status-controller") as cluster:
        rule = {"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
        spec = {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "object.spec.replicas > '1'"}],
        }
        await cluster.create(VALIDATING_ADMISSION_POLICIES, "p", spec=spec)

        async def is_checked():
            status = (await cluster.client.get(VALIDATING_ADMISSION_POLICIES, "", "p")).get("status") or {}
            return len((status.get("typeChecking") or {}).get("expressionWarnings") or ()) == 1

        await cluster.until(is_checked)
