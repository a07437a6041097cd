"""`/containerLogs/{namespace}/{pod}/{container}`: which log a request means, and its answer. Source: `kubelet_pods.go`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pilothouse.api.meta import UID, Object, name_of, uid_of
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.message import Response
from pilothouse.kubelet.kubelet import Kubelet
from pilothouse.kubelet.runtime.failures import RuntimeFailure
from pilothouse.kubelet.runtime.records import ContainerRecord, ContainerState
from pilothouse.kubelet.server import log_file
from pilothouse.kubelet.server.log_file import LogOptions, LogStream
from pilothouse.kubelet.server.refusal import Refused

_STATUS_LISTS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_SPEC_LISTS = ("containers", "initContainers", "ephemeralContainers")
_PULL_PROBLEMS = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


class ContainerLogs:
    """Serves the logs of a kubelet's containers."""

    def __init__(self, kubelet: Kubelet, clock: Clock) -> None:
        self._kubelet = kubelet
        self._clock = clock

    async def get(self, namespace: str, name: str, container: str, query: str) -> Response:
        """Raises Refused."""
        options, previous = parse_options(query, self._clock.now())
        pod = self._kubelet.pod(namespace, name)
        if pod is None:
            raise Refused(404, f'pod "{name}" does not exist')
        if container not in _container_names(pod):
            raise Refused(404, f'container "{container}" not found in pod "{name}"')
        container_id = choose_container(pod, container, previous=previous)
        record = await self._record(uid_of(pod), container_id)
        if not record.log_path:
            raise Refused(400, f'container "{container}" in pod "{name}" keeps no log')
        text = log_file.read(
            Path(record.log_path), options, lambda: self._is_running(uid_of(pod), container_id), self._clock
        )
        try:
            # The first step opens the file, so that a problem can still be told by the status code.
            await anext(text)
        except OSError as error:
            raise Refused(400, f'failed to open log file "{record.log_path}": {error.strerror}') from error
        return Response(200, {"content-type": "text/plain"}, text)

    async def _record(self, uid: UID, container_id: str) -> ContainerRecord:
        known = self._kubelet.record(uid)
        for container in known.containers if known is not None else ():
            if container.id == container_id and container.log_path:
                return container
        try:
            return await self._kubelet.parts.runtime.container(container_id)
        except RuntimeFailure as error:
            raise Refused(400, f"unable to retrieve container logs for {container_id}: {error}") from error

    def _is_running(self, uid: UID, container_id: str) -> bool:
        record = self._kubelet.record(uid)
        for container in record.containers if record is not None else ():
            if container.id == container_id:
                return container.state in (ContainerState.RUNNING, ContainerState.UNKNOWN)
        return False


def parse_options(query: str, now: float) -> tuple[LogOptions, bool]:
    """The options of PodLogOptions in a query, and whether the previous container is meant. Raises Refused."""
    given = dict(parse_qsl(query, keep_blank_values=True)[::-1])
    if "tail" in given:
        given["tailLines"] = "" if given["tail"] == "all" else given["tail"]
    tail, limit, since_s = (_number(given, name) for name in ("tailLines", "limitBytes", "sinceSeconds"))
    since_ns = None
    if given.get("sinceTime"):
        since_ns = log_file.nanoseconds(given["sinceTime"].encode())
        if since_ns is None:
            raise _undecodable()
        if since_s is not None:
            raise _invalid()
    elif since_s is not None:
        since_ns = int((now - since_s) * 1e9)
    try:
        stream = LogStream(given.get("stream") or "All")
    except ValueError:
        raise _invalid() from None
    if (tail or 0) < 0 or (limit is not None and limit < 1) or (since_s is not None and since_s < 1):
        raise _invalid()
    if tail is not None and stream is not LogStream.ALL:
        raise _invalid()
    follow, previous, timestamps = (
        given.get(name, "false").lower() not in ("false", "0") for name in ("follow", "previous", "timestamps")
    )
    return LogOptions(follow, tail, since_ns, limit, timestamps, stream), previous


def choose_container(pod: Object, container: str, *, previous: bool) -> str:
    """The runtime's ID of the container whose log a request means. Raises Refused with upstream's reason where there is none."""
    subject = f'container "{container}" in pod "{name_of(pod)}"'
    status = next((status for status in _statuses(pod) if status["name"] == container), None)
    if status is None:
        raise Refused(400, f"{subject} is not available")
    state = status.get("state") or {}
    last_id = ((status.get("lastState") or {}).get("terminated") or {}).get("containerID", "")
    if previous:
        if not last_id:
            raise Refused(400, f"previous terminated {subject} not found")
        return _bare(last_id)
    if "running" in state:
        return _bare(status.get("containerID", ""))
    if "terminated" in state:
        if chosen := state["terminated"].get("containerID") or last_id:
            return _bare(chosen)
        raise Refused(400, f"{subject} is terminated")
    if "terminated" in (status.get("lastState") or {}):
        if last_id:
            return _bare(last_id)
        raise Refused(400, f"{subject} is terminated")
    if "waiting" in state:
        reason = state["waiting"].get("reason", "")
        raise Refused(400, f"{subject} is waiting to start: {_PULL_PROBLEMS.get(reason, reason)}")
    raise Refused(400, f"{subject} is waiting to start - no logs yet")


def _bare(container_id: str) -> str:
    return container_id.partition("://")[2]


def _statuses(pod: Object) -> Iterator[Mapping[str, Any]]:
    status = pod.get("status") or {}
    for key in _STATUS_LISTS:
        yield from status.get(key) or ()


def _container_names(pod: Object) -> Iterator[str]:
    for key in _SPEC_LISTS:
        for container in pod["spec"].get(key) or ():
            yield container["name"]


def _number(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise _undecodable() from None


def _invalid() -> Refused:
    return Refused(422, '{"message": "Invalid request."}')


def _undecodable() -> Refused:
    return Refused(400, '{"message": "Unable to decode query."}')
