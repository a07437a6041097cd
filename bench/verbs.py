"""What one request costs the API server: CPU time of its process, all threads and the store included, for each verb.

The server runs alone, so that nothing else asks it anything.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress

from bench import objects
from bench.cluster import api_server
from bench.http import Load, RequestRefused, Server, encode
from bench.report import Measurement
from bench.subject import Subject

CONNECTIONS = 24
WARM_UP = 300
PODS = 1000
CONFIGMAPS = 5000
POLICIES = 50
MADE = (
    "/api/v1/namespaces/bench",
    "/api/v1/namespaces/large",
    *(
        f"/apis/admissionregistration.k8s.io/v1/{path}/{obj['metadata']['name']}"
        for path, obj in objects.policies(POLICIES)
    ),
)
"""What a measurement leaves behind."""
_CORE = "/api/v1/namespaces/bench"
_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
_APPLY = "application/apply-patch+yaml"


async def measure(*, simulated: int) -> AsyncIterator[Measurement]:
    async with api_server() as components:
        async for measurement in measure_subject(components.subject):
            yield measurement


async def measure_subject(subject: Subject) -> AsyncIterator[Measurement]:
    """The same requests for any API server, which does nothing else meanwhile; it must have none of `MADE`."""
    server = subject.server
    await server.request("POST", "/api/v1/namespaces", objects.namespace("bench"))
    await until_service_account(server, "bench")
    load = await server.load(CONNECTIONS)
    try:
        async for measurement in _writes(subject, load):
            yield measurement
        async for measurement in _pods(subject):
            yield measurement
        yield await _bystander(subject)
    finally:
        load.close()


async def until_service_account(server: Server, namespace: str) -> None:
    """Pods need one. Where no controller makes it, it is made here."""
    with suppress(RequestRefused):
        await server.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", objects.service_account())


async def _writes(subject: Subject, load: Load) -> AsyncIterator[Measurement]:
    configmaps = f"{_CORE}/configmaps"
    create = (encode("POST", configmaps, objects.configmap(f"c-{number}")) for number in itertools.count())
    yield await _measured("verbs.post_configmap", subject, load, create, CONFIGMAPS)
    read = (encode("GET", f"{configmaps}/c-{number % CONFIGMAPS}") for number in itertools.count())
    yield await _measured("verbs.get_configmap", subject, load, list(itertools.islice(read, 20000)), 20000)
    replace = (
        encode(
            "PUT", f"{configmaps}/c-{number % CONFIGMAPS}", objects.configmap(f"c-{number % CONFIGMAPS}", str(number))
        )
        for number in itertools.count()
    )
    yield await _measured("verbs.put", subject, load, replace, CONFIGMAPS)
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
        yield await _measured("verbs.apply", subject, load, apply, 3000)
    except RequestRefused as refused:
        yield Measurement("verbs.apply", None, f"the server answers {refused.status}")
        # A refusal in the middle leaves answers under way.
        load.close()
    remove_load = await subject.server.load(CONNECTIONS)
    remove = (encode("DELETE", f"{configmaps}/c-{number}") for number in range(CONFIGMAPS))
    try:
        yield await _measured("verbs.delete", subject, remove_load, remove, CONFIGMAPS - WARM_UP)
    finally:
        remove_load.close()


async def _pods(subject: Subject) -> AsyncIterator[Measurement]:
    load = await subject.server.load(CONNECTIONS)
    pods = f"{_CORE}/pods"
    small = (
        encode("POST", pods, objects.pod(f"p-{number}", spec={"schedulerName": "nobody"}))
        for number in itertools.count()
    )
    try:
        yield await _measured("verbs.post_pod", subject, load, small, 3000)
        read = [encode("GET", f"{pods}/p-{number % 3000}") for number in range(20000)]
        yield await _measured("verbs.get_pod", subject, load, read, 20000)
        label = (
            encode("PATCH", f"{pods}/p-{number % 3000}", {"metadata": {"labels": {"step": str(number)}}}, _MERGE)
            for number in itertools.count()
        )
        yield await _measured("verbs.patch_labels", subject, load, label, 3000)
        status = (
            encode("PATCH", f"{pods}/p-{number % 3000}/status", objects.running_status(number), _STRATEGIC)
            for number in itertools.count()
        )
        yield await _measured("verbs.patch_status", subject, load, status, 3000)
        await subject.server.request("POST", "/api/v1/namespaces", objects.namespace("large"))
        await until_service_account(subject.server, "large")
        large = "/api/v1/namespaces/large/pods"
        await load.run(
            encode("POST", large, objects.large_pod(f"p-{number}", labels={"tenth": str(number % 10)}))
            for number in range(PODS)
        )
        size = len(await subject.server.answer(encode("GET", large))) / PODS
        every = await _measured("verbs.list", subject, load, [encode("GET", large)] * 400, 200)
        yield Measurement(every.name, every.value, f"{every.detail}, {size / 1000:.1f} KB each")
        some = [encode("GET", f"{large}?labelSelector=tenth%3D3")] * 3000
        found = json.loads(await subject.server.answer(some[0]))["items"]
        selected = await _measured("verbs.list_label", subject, load, some, 2000)
        yield Measurement(selected.name, selected.value, f"{selected.detail}, {len(found)} found")
    finally:
        load.close()


async def _bystander(subject: Subject) -> Measurement:
    """What webhooks and policies cost those whom they do not concern."""
    server = subject.server
    for path, obj in objects.policies(POLICIES):
        await server.request("POST", f"/apis/admissionregistration.k8s.io/v1/{path}", obj)
    load = await server.load(CONNECTIONS)
    configmaps = f"{_CORE}/configmaps"
    create = (encode("POST", configmaps, objects.configmap(f"b-{number}")) for number in itertools.count())
    try:
        return await _measured("verbs.bystander", subject, load, create, CONFIGMAPS)
    finally:
        load.close()


async def _measured(name: str, subject: Subject, load: Load, requests: Iterable[bytes], count: int) -> Measurement:
    """Milliseconds of the server's CPU for each of `count` requests, after a few that are not counted."""
    iterator = iter(requests)
    await load.run(itertools.islice(iterator, min(WARM_UP, count)))
    counted = list(itertools.islice(iterator, count))
    used_s, began = await subject.used_s(), time.monotonic()
    await load.run(counted)
    elapsed_s, used_s = time.monotonic() - began, await subject.used_s() - used_s
    return Measurement(name, used_s / len(counted) * 1000, f"{len(counted) / elapsed_s:,.0f}/s")
