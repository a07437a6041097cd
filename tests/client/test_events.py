"""Events: counted, combined, cut short, and never in anybody's way."""

from __future__ import annotations

import asyncio
import random

from pilothouse.api import status
from pilothouse.api.gvr import CORE_EVENTS, PODS
from pilothouse.api.meta import Object
from pilothouse.client.client import Client
from pilothouse.client.events import NORMAL, QUEUE_EVENTS, WARNING, Correlator, EventRecorder
from pilothouse.client.inprocess import InProcessTransport
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.http.message import Request, Response
from tests.controllers.cluster import api_server

POD: Object = {"metadata": {"name": "p", "namespace": "default", "uid": "u1", "resourceVersion": "7"}}


def event(message: str, reason: str = "Pulled", uid: str = "u1") -> Object:
    involved = {"kind": "Pod", "namespace": "default", "name": "p", "uid": uid, "apiVersion": "v1"}
    return {
        "metadata": {"name": "p.1", "namespace": "default"},
        "involvedObject": involved,
        "source": {"component": "kubelet", "host": "n1"},
        "type": NORMAL,
        "reason": reason,
        "message": message,
        "count": 1,
        "firstTimestamp": "2024-01-01T00:00:00Z",
        "lastTimestamp": "2024-01-01T00:00:00Z",
    }


def test_a_source_that_says_too_much_about_an_object_is_cut_short() -> None:
    clock = VirtualClock()
    correlator = Correlator(clock)
    sent = [correlator.correlate(event(f"m{number}", f"r{number}")) for number in range(30)]
    assert sum(one is not None for one in sent) == 25
    assert correlator.correlate(event("m", "r", uid="u2")) is not None


def test_events_that_differ_only_in_their_message_are_combined() -> None:
    correlator = Correlator(VirtualClock())
    sent = [correlator.correlate(event(f"attempt {number}")) for number in range(11)]
    assert sent[8] is not None
    assert sent[8].event["message"] == "attempt 8"
    assert sent[9] is not None
    assert sent[9].event["message"] == "(combined from similar events): attempt 9"
    correlator.learn(sent[9].key, sent[9].event)
    again = correlator.correlate(event("attempt 12"))
    assert again is not None
    assert again.patch is not None
    assert again.patch["count"] == 2


async def test_the_same_again_is_one_event_with_a_count() -> None:
    async with api_server() as server:
        recorder = EventRecorder(server.client, "kubelet", "n1", server.clock, rng=random.Random(1))
        task = asyncio.create_task(recorder.run())
        for _ in range(3):
            recorder.event(POD, PODS, WARNING, "BackOff", "Back-off restarting", field_path="spec.containers{c}")
            await server.clock.advance(60)
        (found,) = (await server.client.list(CORE_EVENTS, "default")).items
        assert found["count"] == 3
        assert found["firstTimestamp"] < found["lastTimestamp"]
        assert found["involvedObject"]["fieldPath"] == "spec.containers{c}"
        assert found["source"] == {"component": "kubelet", "host": "n1"}
        assert found["reportingComponent"] == "kubelet"
        await server.client.delete(CORE_EVENTS, "default", found["metadata"]["name"])
        recorder.event(POD, PODS, WARNING, "BackOff", "Back-off restarting", field_path="spec.containers{c}")
        await server.clock.advance(1)
        (found,) = (await server.client.list(CORE_EVENTS, "default")).items
        assert found["count"] == 4
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_absent_server_neither_blocks_nor_loses_what_fits_the_queue() -> None:
    clock, seen = VirtualClock(), []
    is_up = False

    async def app(request: Request) -> Response:
        if not is_up:
            raise status.ServiceUnavailable("down")
        seen.append(request.path)
        return Response(201, {}, request.body)

    recorder = EventRecorder(Client(InProcessTransport(app)), "c", "", clock, rng=random.Random(1))
    for number in range(QUEUE_EVENTS + 10):
        recorder.event({"metadata": {"name": f"p{number}", "uid": str(number)}}, PODS, NORMAL, "R", "m")
    task = asyncio.create_task(recorder.run())
    await clock.advance(15)
    is_up = True
    await clock.advance(15, settle_turns=20_000)
    assert len(seen) == QUEUE_EVENTS
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
