"""What is told of what is stored, and of the caches."""

from pilothouse.apiserver.metrics.caches import families
from pilothouse.kit.metrics import render
from tests.apiserver.harness import Harness, config_map


async def test_each_kind_is_told_with_what_its_cache_has_done() -> None:
    harness = Harness()
    await harness.request("POST", "/api/v1/namespaces", body={"metadata": {"name": "default"}})
    for name in ("a", "b"):
        await harness.request("POST", "/api/v1/namespaces/default/configmaps", body=config_map(name))
    lines = render(families(harness.app.cachers.opened())).decode().splitlines()
    labels = '{group="",resource="configmaps"}'
    assert f"apiserver_resource_objects{labels} 2" in lines
    assert 'apiserver_storage_objects{resource="configmaps"} 2' in lines
    assert f"apiserver_storage_events_received_total{labels} 2" in lines
    assert f"apiserver_watch_cache_initializations_total{labels} 1" in lines
    (size,) = (line for line in lines if line.startswith(f"apiserver_resource_size_estimate_bytes{labels}"))
    assert int(size.split()[-1]) > 100
