"""What one request costs the API server: CPU time of its process, all threads and the store included, for each verb.

The server runs alone, so that nothing else asks it anything.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator, Iterable

from bench import objects
from bench.cluster import Components, api_server
from bench.http import Load, RequestRefused, encode
from bench.report import Measurement

CONNECTIONS = 24
WARM_UP = 300
PODS = 1000
CONFIGMAPS = 5000
_CORE = "/api/v1/namespaces/bench"
_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
_APPLY = "application/apply-patch+yaml"


async def measure(*, simulated: int) -> AsyncIterator[Measurement]:
    async with api_server() as components:
        server = components.server
        await server.request("POST", "/api/v1/namespaces", objects.namespace("bench"))
        await server.request("POST", f"{_CORE}/serviceaccounts", objects.service_account())
        load = await server.load(CONNECTIONS)
        try:
            async for measurement in _writes(components, load):
                yield measurement
            async for measurement in _pods(components, load):
                yield measurement
        finally:
            load.close()


async def _writes(components: Components, load: Load) -> AsyncIterator[Measurement]:
    configmaps = f"{_CORE}/configmaps"
    create = (encode("POST", configmaps, objects.configmap(f"c-{number}")) for number in itertools.count())
    yield await _measured("verbs.post_configmap", components, load, create, CONFIGMAPS)
    read = (encode("GET", f"{configmaps}/c-{number % CONFIGMAPS}") for number in itertools.count())
    yield await _measured("verbs.get_configmap", components, load, list(itertools.islice(read, 20000)), 20000)
    replace = (
        encode(
            "PUT", f"{configmaps}/c-{number % CONFIGMAPS}", objects.configmap(f"c-{number % CONFIGMAPS}", str(number))
        )
        for number in itertools.count()
    )
    yield await _measured("verbs.put", components, load, replace, CONFIGMAPS)
    apply = (
        encode(
            "PATCH",
            f"{configmaps}/a-{number % 1000}?fieldManager=bench&force=true",
            objects.configmap(f"a-{number % 1000}", str(number)),
            _APPLY,
        )
        for number in itertools.count()
    )
    try:
        yield await _measured("verbs.apply", components, load, apply, 3000)
    except RequestRefused as refused:
        yield Measurement("verbs.apply", None, f"the server answers {refused.status}")
        # A refusal in the middle leaves answers under way.
        load.close()
    remove_load = await components.server.load(CONNECTIONS)
    remove = (encode("DELETE", f"{configmaps}/c-{number}") for number in range(CONFIGMAPS))
    try:
        yield await _measured("verbs.delete", components, remove_load, remove, CONFIGMAPS - WARM_UP)
    finally:
        remove_load.close()


async def _pods(components: Components, refused_load: Load) -> AsyncIterator[Measurement]:
    load = await components.server.load(CONNECTIONS)
    pods = f"{_CORE}/pods"
    small = (
        encode("POST", pods, objects.pod(f"p-{number}", spec={"schedulerName": "nobody"}))
        for number in itertools.count()
    )
    try:
        yield await _measured("verbs.post_pod", components, load, small, 3000)
        read = [encode("GET", f"{pods}/p-{number % 3000}") for number in range(20000)]
        yield await _measured("verbs.get_pod", components, load, read, 20000)
        label = (
            encode("PATCH", f"{pods}/p-{number % 3000}", {"metadata": {"labels": {"step": str(number)}}}, _MERGE)
            for number in itertools.count()
        )
        yield await _measured("verbs.patch_labels", components, load, label, 3000)
        status = (
            encode("PATCH", f"{pods}/p-{number % 3000}/status", objects.running_status(number), _STRATEGIC)
            for number in itertools.count()
        )
        yield await _measured("verbs.patch_status", components, load, status, 3000)
        await components.server.request("POST", "/api/v1/namespaces", objects.namespace("large"))
        await components.server.request("POST", "/api/v1/namespaces/large/serviceaccounts", objects.service_account())
        large = "/api/v1/namespaces/large/pods"
        await load.run(
            encode("POST", large, objects.large_pod(f"p-{number}", labels={"tenth": str(number % 10)}))
            for number in range(PODS)
        )
        size = len(await components.server.answer(encode("GET", large))) / PODS
        every = await _measured("verbs.list", components, load, [encode("GET", large)] * 400, 200)
        yield Measurement(every.name, every.value, f"{every.detail}, {size / 1000:.1f} KB each")
        some = [encode("GET", f"{large}?labelSelector=tenth%3D3")] * 3000
        found = json.loads(await components.server.answer(some[0]))["items"]
        selected = await _measured("verbs.list_label", components, load, some, 2000)
        yield Measurement(selected.name, selected.value, f"{selected.detail}, {len(found)} found")
    finally:
        load.close()


async def _measured(
    name: str, components: Components, load: Load, requests: Iterable[bytes], count: int
) -> Measurement:
    """Milliseconds of the server's CPU for each of `count` requests, after a few that are not counted."""
    iterator = iter(requests)
    await load.run(itertools.islice(iterator, min(WARM_UP, count)))
    counted = list(itertools.islice(iterator, count))
    cpu_s, began = components.cpu_s("apiserver"), time.monotonic()
    await load.run(counted)
    cpu_s, elapsed_s = components.cpu_s("apiserver") - cpu_s, time.monotonic() - began
    return Measurement(name, cpu_s / len(counted) * 1000, f"{len(counted) / elapsed_s:,.0f}/s")
