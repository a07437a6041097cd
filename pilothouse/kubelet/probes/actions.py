"""One probe of a container: exec, HTTP GET, TCP connect, gRPC health check. Source: `pkg/probe`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.kit.http.client import ConnectionFailed, HttpPool, ResponseTimeout
from pilothouse.kit.http.tls import unverified_client_context
from pilothouse.kubelet.hooks import port_number
from pilothouse.kubelet.runtime.failures import RuntimeFailure, RuntimeTimeout
from pilothouse.kubelet.runtime.runtime import Runtime

MAX_OUTPUT = 10 * 1024
MAX_REDIRECTS = 10
SERVING = 1
"""HealthCheckResponse.SERVING of grpc.health.v1."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a probe succeeded; `output` says why not."""

    success: bool
    output: str = ""


class ProbeErrored(Exception):
    """The probe could not be carried out at all: its result does not count."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is probed: a running container at its pod's address."""

    container: Mapping[str, Any]
    container_id: str
    ip: str


async def run_probe(probe: Mapping[str, Any], target: Target, runtime: Runtime) -> Outcome:
    """Carry out a probe within its timeout. Raises ProbeErrored."""
    timeout_s = float(probe.get("timeoutSeconds") or 1)
    try:
        if (action := probe.get("exec")) is not None:
            return await _exec(action, target, runtime, timeout_s)
        async with asyncio.timeout(timeout_s):
            if (action := probe.get("httpGet")) is not None:
                return await _http(action, target, timeout_s)
            if (action := probe.get("tcpSocket")) is not None:
                return await _tcp(action, target)
            if (action := probe.get("grpc")) is not None:
                return await _grpc(action, target, timeout_s)
    except TimeoutError:
        return Outcome(False, f"no answer within {timeout_s:g}s (Client.Timeout exceeded)")
    except ValueError as error:
        raise ProbeErrored(str(error)) from error
    raise ProbeErrored(f"missing probe handler for container {target.container['name']}")


async def _exec(action: Mapping[str, Any], target: Target, runtime: Runtime, timeout_s: float) -> Outcome:
    command = action.get("command") or ()
    try:
        result = await runtime.exec(target.container_id, command, timeout_s)
    except RuntimeTimeout:
        return Outcome(False, f"command timed out: {' '.join(command)!r} timed out after {timeout_s:g}s")
    except RuntimeFailure as error:
        raise ProbeErrored(str(error)) from error
    output = (result.stdout + result.stderr)[:MAX_OUTPUT].decode(errors="replace")
    return Outcome(result.exit_code == 0, output)


async def _http(action: Mapping[str, Any], target: Target, timeout_s: float) -> Outcome:
    is_tls = (action.get("scheme") or "HTTP").upper() == "HTTPS"
    host = action.get("host") or target.ip
    port = port_number(action["port"], target.container)
    path = action.get("path") or "/"
    if not path.startswith("/"):
        path = f"/{path}"
    headers = {"user-agent": "kube-probe/1.36", "accept": "*/*", "connection": "close"}
    headers |= {header["name"].lower(): header["value"] for header in action.get("httpHeaders") or ()}
    url = f"{'https' if is_tls else 'http'}://{host}:{port}{path}"
    pool = HttpPool(
        host,
        port,
        ssl_context=unverified_client_context() if is_tls else None,
        connect_timeout_s=timeout_s,
        timeout_s=timeout_s,
    )
    try:
        for _ in range(MAX_REDIRECTS):
            answer = await pool.request("GET", path, headers=headers)
            location = answer.headers.get("location", "")
            if not (300 <= answer.status < 400 and location.startswith("/")):
                break
            path = location
        else:
            return Outcome(False, f'Get "{url}": stopped after {MAX_REDIRECTS} redirects')
    except ConnectionFailed as error:
        return Outcome(False, f'Get "{url}": dial tcp {host}:{port}: {error}')
    except ResponseTimeout:
        return Outcome(
            False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
        )
    finally:
        await pool.close()
    if 200 <= answer.status < 400:
        return Outcome(True)
    return Outcome(False, f"HTTP probe failed with statuscode: {answer.status}")


async def _tcp(action: Mapping[str, Any], target: Target) -> Outcome:
    host, port = action.get("host") or target.ip, port_number(action["port"], target.container)
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Outcome(False, f"dial tcp {host}:{port}: {error.strerror or error}")
    writer.close()
    return Outcome(True)


async def _grpc(action: Mapping[str, Any], target: Target, timeout_s: float) -> Outcome:
    from pilothouse.kit.grpc import GrpcChannel, RpcCode, RpcFailure

    service = (action.get("service") or "").encode()
    request = b"\x0a" + bytes((len(service),)) + service if service else b""
    channel = GrpcChannel(f"{target.ip}:{action['port']}")
    try:
        answer = await channel.call("/grpc.health.v1.Health/Check", request, bytes, timeout_s=timeout_s)
    except RpcFailure as error:
        if error.code is RpcCode.UNIMPLEMENTED:
            return Outcome(False, f"error: this server does not implement the grpc health protocol: {error.details}")
        if error.code is RpcCode.DEADLINE_EXCEEDED:
            return Outcome(False, f"timeout: health rpc did not complete within {timeout_s:g}s")
        return Outcome(False, f"error: health rpc probe failed: {error.details}")
    finally:
        await channel.close()
    # HealthCheckResponse has one field: the status, a varint of one byte.
    status = answer[1] if len(answer) == 2 and answer[0] == 8 else 0
    return Outcome(status == SERVING, "" if status == SERVING else f"service unhealthy (responded with {status})")
