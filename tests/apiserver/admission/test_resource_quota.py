import asyncio

import pytest

from pilothouse.api import gvr as kinds
from pilothouse.api.resource import Resource
from pilothouse.api.status import Conflict, Forbidden
from pilothouse.api.user import User
from pilothouse.apiserver.admission.resource_quota import ResourceQuota
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import MemoryObjects
from pilothouse.kit.clock import VirtualClock


class Quotas:
    """Quotas with compare-and-swap; `raced` writes of somebody else come first."""

    def __init__(self):
        self.objects = MemoryObjects()
        self.writes = 0
        self.raced = 0

    def put(self, name, hard, used=None, **spec):
        status = {"hard": hard, "used": dict.fromkeys(hard, "0") if used is None else used}
        metadata = {"name": name, "namespace": "ns", "resourceVersion": "1"}
        self.objects.put(
            kinds.RESOURCE_QUOTAS, {"metadata": metadata, "spec": {"hard": hard, **spec}, "status": status}
        )

    async def used(self, name="q"):
        return (await self.objects.get(kinds.RESOURCE_QUOTAS, "ns", name))["status"]["used"]

    async def write(self, quota):
        await asyncio.sleep(0)
        metadata = quota["metadata"]
        present = await self.objects.get(kinds.RESOURCE_QUOTAS, "ns", metadata["name"])
        if self.raced:
            self.raced -= 1
            used = {key: str(int(value) + 1) for key, value in present["status"]["used"].items()}
            present = self._next(present, {**present["status"], "used": used})
        if present["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise Conflict("changed")
        self.writes += 1
        self._next(present, quota["status"])

    def _next(self, quota, status):
        version = str(int(quota["metadata"]["resourceVersion"]) + 1)
        new = {**quota, "metadata": {**quota["metadata"], "resourceVersion": version}, "status": status}
        self.objects.put(kinds.RESOURCE_QUOTAS, new)
        return new


@pytest.fixture
def quotas():
    return Quotas()


@pytest.fixture
def plugin(quotas):
    return ResourceQuota(quotas.objects, quotas.write, VirtualClock())


def write(gvr, obj, old=None, **more):
    operation = "UPDATE" if old else "CREATE"
    return Attributes(operation, Resource(gvr), gvr, "ns", obj["metadata"]["name"], User("a"), obj, old, **more)


def pod(name="p", cpu="", **spec):
    resources = {"requests": {"cpu": cpu}} if cpu else {}
    return {
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"containers": [{"name": "c", "resources": resources}], **spec},
    }


async def test_what_fits_is_counted(plugin, quotas):
    quotas.put("q", {"pods": "2", "requests.cpu": "1"})
    await plugin.validate(write(kinds.PODS, pod(cpu="600m")))
    assert await quotas.used() == {"pods": "1", "requests.cpu": "600m"}
    with pytest.raises(Forbidden) as caught:
        await plugin.validate(write(kinds.PODS, pod("b", cpu="600m")))
    assert caught.value.message == (
        'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1'
    )
    with pytest.raises(Forbidden) as caught:
        await plugin.validate(write(kinds.PODS, pod("b")))
    assert caught.value.message == 'pods "b" is forbidden: failed quota: q: must specify requests.cpu for: c'
    assert quotas.writes == 1


async def test_a_quota_that_is_not_counted_yet(plugin, quotas):
    quotas.put("q", {"pods": "2"}, used={})
    with pytest.raises(Forbidden, match="status unknown for quota: q, resources: pods"):
        await plugin.validate(write(kinds.PODS, pod()))


async def test_dry_runs_are_not_counted(plugin, quotas):
    quotas.put("q", {"pods": "1"})
    await plugin.validate(write(kinds.PODS, pod(), is_dry_run=True))
    assert await quotas.used() == {"pods": "0"}


async def test_many_at_once_never_exceed_and_share_their_writes(plugin, quotas):
    quotas.put("q", {"pods": "3"})
    outcomes = await asyncio.gather(
        *(plugin.validate(write(kinds.PODS, pod(f"p{index}"))) for index in range(10)), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 3
    assert await quotas.used() == {"pods": "3"}
    assert quotas.writes <= 2


async def test_another_server_was_faster(plugin, quotas):
    quotas.put("q", {"pods": "3"})
    quotas.raced = 2
    await plugin.validate(write(kinds.PODS, pod()))
    assert await quotas.used() == {"pods": "3"}
    quotas.put("q", {"pods": "9"})
    quotas.raced = 99
    with pytest.raises(Conflict):
        await plugin.validate(write(kinds.PODS, pod()))


async def test_one_that_gives_up_takes_nobody_along(plugin, quotas):
    quotas.put("q", {"pods": "3"})
    tasks = [asyncio.create_task(plugin.validate(write(kinds.PODS, pod(f"p{index}")))) for index in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1:] == [None, None]


async def test_scopes_choose_quotas(plugin, quotas):
    quotas.put("q", {"pods": "0"}, scopes=["Terminating"])
    quotas.put(
        "r", {"pods": "5"}, scopeSelector={"matchExpressions": [{"scopeName": "BestEffort", "operator": "Exists"}]}
    )
    await plugin.validate(write(kinds.PODS, pod()))
    assert await quotas.used("r") == {"pods": "1"}
    with pytest.raises(Forbidden, match="exceeded quota: q"):
        await plugin.validate(write(kinds.PODS, pod(activeDeadlineSeconds=5)))


async def test_updates_count_what_they_add(plugin, quotas):
    quotas.put("q", {"services": "1", "services.nodeports": "2"}, used={"services": "1", "services.nodeports": "0"})
    old = {"metadata": {"name": "s", "namespace": "ns"}, "spec": {"type": "ClusterIP", "ports": [{}]}}
    await plugin.validate(write(kinds.SERVICES, {**old, "spec": {"type": "NodePort", "ports": [{}]}}, old=old))
    assert await quotas.used() == {"services": "1", "services.nodeports": "1"}


async def test_any_kind_is_counted(plugin, quotas):
    quotas.put("q", {"count/deployments.apps": "0", "configmaps": "1"})
    with pytest.raises(Forbidden, match="requested: count/deployments"):
        await plugin.validate(write(kinds.DEPLOYMENTS, {"metadata": {"name": "d"}}))
    await plugin.validate(write(kinds.CONFIG_MAPS, {"metadata": {"name": "c"}}))
    await plugin.validate(write(kinds.CONFIG_MAPS, {"metadata": {"name": "c"}}, old={"metadata": {"name": "c"}}))
    assert (await quotas.used())["configmaps"] == "1"
