"""The kubelet's servers from outside."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import orjson
import pytest

from pilothouse.api.meta import UID
from pilothouse.client.client import Client
from pilothouse.kit.clock import SystemClock
from pilothouse.kit.http.client import ConnectionFailed, HttpPool
from pilothouse.kit.pki import Authority, Certificate, Pki
from pilothouse.kubelet.runtime.records import ContainerUsage, FilesystemUsage
from pilothouse.kubelet.runtime.runtime import Stream
from pilothouse.kubelet.server.logs import choose_container, parse_options
from pilothouse.kubelet.server.refusal import Refused
from pilothouse.kubelet.server.server import KubeletServer, PortTaken, ServerOptions
from tests.kubelet.fake_api import pod
from tests.kubelet.server.conftest import ServedBench

LOG = b"2026-01-01T00:00:00.000000001Z stdout F one\n2026-01-01T00:00:01.000000001Z stderr F two\n"
UPGRADE = {"connection": "Upgrade", "upgrade": "SPDY/3.1", "x-stream-protocol-version": "v4.channel.k8s.io, v3"}


async def test_pods_are_listed_with_their_latest_status(served: ServedBench) -> None:
    await served.ready_pod()
    for port in (served.http.port, served.read_only.port):
        answer = await served.ask("/pods", port=port)
        listed = orjson.loads(answer.body)
        assert listed["kind"] == "PodList"
        assert [item["status"]["phase"] for item in listed["items"]] == ["Running"]
    running = orjson.loads((await served.ask("/runningpods/")).body)
    assert [item["metadata"]["uid"] for item in running["items"]] == ["uid-web"]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/pods/x", 404),
        ("DELETE", "/pods", 405),
        ("GET", "/containerLogs/default/web", 404),
        ("GET", "/stats/other", 404),
        ("GET", "/metrics/other", 404),
        ("GET", "/healthz/other", 404),
        ("GET", "/run/default/web/main", 405),
        ("GET", "/logs/../../etc/passwd", 404),
        ("GET", "/logs/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "/containerLogs/default/absent/main", 404),
        ("GET", "/exec/default/absent/main?output=1", 404),
        ("GET", "/exec/default/web/main", 400),
        ("GET", "/portForward/default/absent", 404),
    ],
)
async def test_bad_requests(served: ServedBench, method: str, path: str, code: int) -> None:
    assert (await served.ask(path, method)).status == code


@pytest.mark.parametrize("path", ["/exec/a/b/c", "/containerLogs/a/b/c", "/runningpods/", "/configz", "/logs/"])
async def test_the_read_only_port_shows_no_more_than_it_may(served: ServedBench, path: str) -> None:
    assert (await served.ask(path, port=served.read_only.port)).status == 404
    assert (await served.ask("/pods", "POST", port=served.read_only.port)).status == 405


async def test_health(served: ServedBench) -> None:
    await served.advance(1)
    assert (await served.ask("/healthz")).body == b"ok"
    assert (await served.ask("/healthz/syncloop")).body == b"ok"
    verbose = await served.ask("/healthz?verbose=1")
    assert b"[+]ping ok\n[+]syncloop ok\n" in verbose.body


async def test_the_runtime_that_is_silent_for_long_is_told(served: ServedBench) -> None:
    async def silent() -> None:
        await asyncio.get_running_loop().create_future()

    await served.advance(1)
    served.runtime.pods = silent  # type: ignore[assignment]
    await served.advance(200)
    answer = await served.ask("/healthz")
    assert answer.status == 500
    assert b"[-]syncloop failed: reason withheld\n" in answer.body
    assert (await served.ask("/healthz?exclude=syncloop")).status == 200
    assert b"the runtime was last seen" in (await served.ask("/healthz/syncloop")).body


async def test_a_log(served: ServedBench, tmp_path: Path) -> None:
    path = await served.ready_pod()
    served.write_log(path, tmp_path / "0.log", LOG)
    assert (await served.ask("/containerLogs/default/web/main")).body == b"one\ntwo\n"
    assert (await served.ask("/containerLogs/default/web/main?tailLines=1")).body == b"two\n"
    assert (await served.ask("/containerLogs/default/web/main?tail=1")).body == b"two\n"
    absent = await served.ask("/containerLogs/default/web/other")
    assert (absent.status, absent.body) == (404, b'container "other" not found in pod "web"')
    previous = await served.ask("/containerLogs/default/web/main?previous=true")
    assert previous.body == b'previous terminated container "main" in pod "web" not found'
    assert previous.status == 400
    assert (await served.ask("/containerLogs/default/web/main?limitBytes=0")).status == 422
    (tmp_path / "0.log").unlink()
    assert (await served.ask("/containerLogs/default/web/main")).status == 400


def state(**fields: object) -> dict[str, object]:
    made = pod()
    return {**made, "status": {"containerStatuses": [{"name": "main", **fields}]}}


ENDED = {"terminated": {"containerID": "containerd://old"}}


@pytest.mark.parametrize(
    ("fields", "previous", "expected"),
    [
        ({"state": {"running": {}}, "containerID": "containerd://now"}, False, "now"),
        ({"state": {"running": {}}, "containerID": "containerd://now", "lastState": ENDED}, True, "old"),
        ({"state": ENDED}, False, "old"),
        ({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ENDED}, False, "old"),
        ({"state": {"terminated": {}}, "lastState": ENDED}, False, "old"),
    ],
)
def test_the_container_whose_log_is_meant(fields: dict[str, object], previous: bool, expected: str) -> None:
    assert choose_container(state(**fields), "main", previous=previous) == expected


SUBJECT = 'container "main" in pod "web" '


@pytest.mark.parametrize(
    ("fields", "previous", "expected"),
    [
        (
            {"state": {"waiting": {"reason": "ContainerCreating"}}},
            False,
            SUBJECT + "is waiting to start: ContainerCreating",
        ),
        (
            {"state": {"waiting": {"reason": "ErrImagePull"}}},
            False,
            SUBJECT + "is waiting to start: image can't be pulled",
        ),
        (
            {"state": {"waiting": {"reason": "ImagePullBackOff"}}},
            False,
            SUBJECT + "is waiting to start: trying and failing to pull image",
        ),
        ({"state": {"terminated": {}}}, False, SUBJECT + "is terminated"),
        ({"state": {}}, False, SUBJECT + "is waiting to start - no logs yet"),
        ({"state": {"running": {}}}, True, f"previous terminated {SUBJECT}not found"),
    ],
)
def test_why_there_is_no_log(fields: dict[str, object], previous: bool, expected: str) -> None:
    with pytest.raises(Refused) as refused:
        choose_container(state(**fields), "main", previous=previous)
    assert (refused.value.code, str(refused.value)) == (400, expected)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("tailLines=x", 400),
        ("tailLines=-1", 422),
        ("limitBytes=0", 422),
        ("sinceSeconds=0", 422),
        ("sinceTime=monday", 400),
        ("sinceTime=2026-01-01T00:00:00Z&sinceSeconds=3", 422),
        ("stream=Both", 422),
        ("stream=Stdout&tailLines=3", 422),
    ],
)
def test_bad_log_options(query: str, code: int) -> None:
    with pytest.raises(Refused) as refused:
        parse_options(query, 0.0)
    assert refused.value.code == code


def test_log_options() -> None:
    options, previous = parse_options("follow=true&previous=1&sinceSeconds=10&tailLines=0&timestamps=false", 110.0)
    assert (options.follow, options.since_ns, options.tail_lines, options.timestamps) == (True, 100 * 10**9, 0, False)
    assert previous


async def test_streams_are_tunnelled_to_the_runtime(served: ServedBench) -> None:
    heard: list[bytes] = []

    async def runtime(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\n\r\nhello")
        writer.write(await reader.readexactly(4))
        writer.close()

    served.reviews.tokens["secret"] = {"username": "u"}
    path = await served.ready_pod()
    async with await asyncio.start_server(runtime, "127.0.0.1", 0) as listener:
        served.stream_to = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/exec/token"
        reader, writer = await asyncio.open_connection("127.0.0.1", served.http.port)
        head = "".join(f"{name}: {value}\r\n" for name, value in {**UPGRADE, "authorization": "Bearer secret"}.items())
        target = "/exec/default/web/main?command=sh&command=-c&output=1&error=1&tty=1"
        writer.write(f"POST {target} HTTP/1.1\r\nhost: x\r\n{head}content-length: 0\r\n\r\nping".encode())
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.endswith(b"\r\n\r\nhelloping")
    assert heard[0].startswith(b"POST /exec/token HTTP/1.1\r\n")
    assert b"x-stream-protocol-version: v4.channel.k8s.io, v3\r\n" in heard[0]
    assert b"secret" not in heard[0]
    stream, target_id, asked = served.streams[0]
    assert (stream, target_id) == (Stream.EXEC, served.container_id(path))
    assert asked["command"] == ["sh", "-c"]
    assert (asked["stdout"], asked["stderr"], asked["tty"]) == (True, False, True)


async def test_streams_that_the_runtime_refuses(served: ServedBench) -> None:
    await served.ready_pod()
    target = "/exec/default/web/main?command=sh&output=1"
    assert (await served.ask(target)).status == 400
    served.runtime_problem = "container is in CONTAINER_EXITED state"
    refused = await served.ask(target, **UPGRADE)
    assert (refused.status, refused.body) == (500, served.runtime_problem.encode())
    served.runtime_problem, served.stream_to = "", "http://127.0.0.1:9/exec/token"
    assert (await served.ask(target, **UPGRADE)).status == 500
    wrong = await served.ask("/exec/default/web/other-uid/main?command=sh&output=1", **UPGRADE)
    assert wrong.status == 500
    absent = await served.ask("/exec/default/web/absent?command=sh&output=1", **UPGRADE)
    assert (absent.status, absent.body) == (500, b'container not found ("absent")')


@pytest.mark.parametrize(("query", "code"), [("", 400), ("port=0", 400), ("port=http", 400)])
async def test_ports_of_a_websocket(served: ServedBench, query: str, code: int) -> None:
    await served.ready_pod()
    headers = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-protocol": "v4.channel.k8s.io"}
    assert (await served.ask(f"/portForward/default/web?{query}", **headers)).status == code


async def test_metrics_and_stats(served: ServedBench) -> None:
    path = await served.ready_pod()
    id = served.container_id(path)
    served.usages = [
        ContainerUsage(
            id, "main", UID("uid-web"), 100.0, 2_000_000_000, 4096, 8192, 1024, 7, 1, FilesystemUsage("/", 9, 2, 0.0)
        )
    ]
    await served.ask("/stats/summary")
    served.usages = [
        ContainerUsage(
            id, "main", UID("uid-web"), 110.0, 7_000_000_000, 4096, 8192, 1024, 7, 1, FilesystemUsage("/", 9, 2, 0.0)
        )
    ]
    summary = orjson.loads((await served.ask("/stats/summary", port=served.read_only.port)).body)
    assert summary["node"]["nodeName"] == "n1"
    assert summary["node"]["memory"]["workingSetBytes"] > 0
    (shown,) = summary["pods"]
    assert shown["podRef"] == {"name": "web", "namespace": "default", "uid": "uid-web"}
    assert shown["containers"][0]["cpu"]["usageNanoCores"] == 500_000_000
    assert shown["containers"][0]["rootfs"]["usedBytes"] == 9
    assert shown["memory"]["workingSetBytes"] == 4096
    slim = orjson.loads((await served.ask("/stats/summary?only_cpu_and_memory=true")).body)
    assert "fs" not in slim["node"]
    assert "rootfs" not in slim["pods"][0]["containers"][0]
    page = (await served.ask("/metrics")).body
    assert b"\nkubelet_running_pods 1\n" in page
    assert b'\nkubelet_running_containers{container_state="running"} 1\n' in page
    assert b"\nkubelet_pod_start_duration_seconds_count 1\n" in page
    assert b'\nkubelet_node_name{node="n1"} 1\n' in page
    assert b'kubelet_http_requests_total{server_type="readwrite",method="GET",path="stats"} 2' in page
    labels = b'{container="main",pod="web",namespace="default"}'
    resources = (await served.ask("/metrics/resource")).body
    assert b"\ncontainer_cpu_usage_seconds_total" + labels + b" 7 110000\n" in resources
    assert b"\nresource_scrape_error 0\n" in resources
    assert b"\nprocess_start_time_seconds " in (await served.ask("/metrics/probes")).body
    assert b"container_memory_usage_bytes{" in (await served.ask("/metrics/cadvisor")).body


async def test_configuration(served: ServedBench) -> None:
    config = orjson.loads((await served.ask("/configz")).body)["kubeletconfig"]
    assert (config["kind"], config["maxPods"], config["authorization"]) == (
        "KubeletConfiguration",
        110,
        {"mode": "AlwaysAllow"},
    )


async def test_a_port_in_use_is_told(served: ServedBench, tmp_path: Path) -> None:
    options = ServerOptions(tmp_path / "c", tmp_path / "k", port=0, read_only_port=served.http.port)
    server = KubeletServer(served.kubelet, Client(served.reviews), options, served.clock)
    with pytest.raises(PortTaken, match=f"port {served.http.port} on 127.0.0.1 cannot be opened"):
        await server.run()


async def test_https_for_those_with_a_certificate_and_health_for_all(served: ServedBench, tmp_path: Path) -> None:
    pki = Pki(tmp_path, SystemClock())
    server_name = Certificate("server", "n1", usages=("server",), ip_addresses=("127.0.0.1",))
    pki.ensure((Authority("ca", "ca"), Authority("other", "other"), server_name, Certificate("alice", "alice")))
    pki.ensure((Certificate("mallory", "mallory", authority="other"),))
    ports = [free_port(), free_port()]
    options = ServerOptions(
        pki.certificate_path("server"),
        pki.key_path("server"),
        pki.certificate_path("ca"),
        address="127.0.0.1",
        port=ports[0],
        healthz_port=ports[1],
    )
    served.reviews.allowed.add(("alice", "get", "pods"))
    clock = SystemClock()
    task = asyncio.create_task(KubeletServer(served.kubelet, Client(served.reviews), options, clock).run())
    try:
        for _ in range(100):
            if len(await open_ports(ports)) == 2:
                break
        assert (await served.ask("/healthz/ping", port=ports[1])).body == b"ok"
        assert (await served.ask("/pods", port=ports[1])).status == 404
        assert await status_of(ports[0], pki, "alice") == 200
        assert await status_of(ports[0], pki, "") == 401
        with pytest.raises(ConnectionFailed):
            await status_of(ports[0], pki, "mallory")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def open_ports(ports: list[int]) -> list[int]:
    found = []
    for port in ports:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            found.append(port)
    return found


async def status_of(port: int, pki: Pki, user: str) -> int:
    context = ssl.create_default_context(cafile=str(pki.certificate_path("ca")))
    if user:
        context.load_cert_chain(pki.certificate_path(user), pki.key_path(user))
    pool = HttpPool("127.0.0.1", port, ssl_context=context, timeout_s=10.0)
    try:
        return (await pool.request("GET", "/pods", headers={})).status
    finally:
        await pool.close()
