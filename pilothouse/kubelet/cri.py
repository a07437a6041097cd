"""The container runtime behind a CRI v1 socket (KEP-2040, cri-api `runtime/v1/api.proto`).

One call of `Runtime` is one or few calls of CRI; `cri_messages` translates between the kubelet's values and CRI's messages. Errors of
gRPC are mapped to `RuntimeFailure` here and nowhere else. Deadlines are upstream's: two minutes, four for what sets up networks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from cri_api.v1 import api_pb2 as cri

from pilothouse.api.meta import UID
from pilothouse.kit.grpc import GrpcChannel, Message, RpcCode, RpcFailure
from pilothouse.kubelet import containerd_events, cri_messages
from pilothouse.kubelet.runtime.failures import NotFoundInRuntime, RuntimeFailure, RuntimeTimeout, RuntimeUnavailable
from pilothouse.kubelet.runtime.labels import POD_UID_LABEL
from pilothouse.kubelet.runtime.records import (
    ContainerRecord,
    ContainerState,
    ContainerUsage,
    ExecResult,
    FilesystemUsage,
    Image,
    PodRecord,
    RuntimeConditions,
    RuntimeEvent,
    RuntimeVersion,
    SandboxRecord,
)
from pilothouse.kubelet.runtime.runtime import Stream
from pilothouse.kubelet.runtime.specs import ContainerSpec, Credentials, Resources, SandboxSpec

_CALL_TIMEOUT_S = 120.0
_SANDBOX_TIMEOUT_S = 240.0
_PULL_TIMEOUT_S = 3600.0
_STOP_MARGIN_S = 120.0

Response = TypeVar("Response")


class CriRuntime:
    """A runtime that speaks CRI on `target` (`unix:///run/containerd/containerd.sock`)."""

    def __init__(self, target: str) -> None:
        self._channel = GrpcChannel(target, max_message_bytes=64 * 1024 * 1024)

    async def version(self) -> RuntimeVersion:
        answer = await self._runtime("Version", cri.VersionRequest(), cri.VersionResponse.FromString)
        return RuntimeVersion(answer.runtime_name, answer.runtime_version, answer.runtime_api_version)

    async def conditions(self) -> RuntimeConditions:
        answer = await self._runtime("Status", cri.StatusRequest(), cri.StatusResponse.FromString)
        return cri_messages.conditions(answer)

    async def pods(self) -> Mapping[UID, PodRecord]:
        sandboxes, containers = await asyncio.gather(
            self._runtime("ListPodSandbox", cri.ListPodSandboxRequest(), cri.ListPodSandboxResponse.FromString),
            self._runtime("ListContainers", cri.ListContainersRequest(), cri.ListContainersResponse.FromString),
        )
        return cri_messages.pods(sandboxes.items, containers.containers)

    async def pod(self, uid: UID, known: PodRecord | None = None) -> PodRecord:
        selector = {POD_UID_LABEL: uid}
        sandboxes, containers = await asyncio.gather(
            self._runtime(
                "ListPodSandbox",
                cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(label_selector=selector)),
                cri.ListPodSandboxResponse.FromString,
            ),
            self._runtime(
                "ListContainers",
                cri.ListContainersRequest(filter=cri.ContainerFilter(label_selector=selector)),
                cri.ListContainersResponse.FromString,
            ),
        )
        listed = cri_messages.pods(sandboxes.items, containers.containers).get(uid) or PodRecord(uid)
        known_containers = {c.id: c for c in known.containers} if known else {}
        known_sandboxes = {s.id: s for s in known.sandboxes} if known else {}
        details = await asyncio.gather(
            *(self._sandbox_details(sandbox, known_sandboxes.get(sandbox.id)) for sandbox in listed.sandboxes),
            *(
                self._container_details(container, known_containers.get(container.id))
                for container in listed.containers
            ),
        )
        return PodRecord(
            uid,
            listed.name,
            listed.namespace,
            tuple(record for record in details if isinstance(record, SandboxRecord)),
            tuple(record for record in details if isinstance(record, ContainerRecord)),
        )

    async def _sandbox_details(self, listed: SandboxRecord, known: SandboxRecord | None) -> SandboxRecord | None:
        if not listed.is_ready:
            return listed
        if known is not None and known.is_ready and (known.ips or known.host_network):
            return known
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=listed.id)
        try:
            answer = await self._runtime("PodSandboxStatus", request, cri.PodSandboxStatusResponse.FromString)
        except NotFoundInRuntime:
            return None
        return cri_messages.sandbox_status(answer.status)

    async def _container_details(
        self, listed: ContainerRecord, known: ContainerRecord | None
    ) -> ContainerRecord | None:
        if known is not None and known.state is ContainerState.EXITED:
            return known
        try:
            return replace(await self.container(listed.id), sandbox_id=listed.sandbox_id)
        except NotFoundInRuntime:
            return None

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        request = cri.RunPodSandboxRequest(
            config=cri_messages.sandbox_config(spec), runtime_handler=spec.runtime_handler
        )
        answer = await self._runtime(
            "RunPodSandbox", request, cri.RunPodSandboxResponse.FromString, timeout_s=_SANDBOX_TIMEOUT_S
        )
        return str(answer.pod_sandbox_id)

    async def stop_sandbox(self, sandbox_id: str) -> None:
        request = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._gone("StopPodSandbox", request, cri.StopPodSandboxResponse.FromString)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        request = cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._gone("RemovePodSandbox", request, cri.RemovePodSandboxResponse.FromString)

    async def create_container(self, sandbox_id: str, spec: ContainerSpec, sandbox: SandboxSpec) -> str:
        request = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox_id,
            config=cri_messages.container_config(spec),
            sandbox_config=cri_messages.sandbox_config(sandbox),
        )
        answer = await self._runtime("CreateContainer", request, cri.CreateContainerResponse.FromString)
        return str(answer.container_id)

    async def start_container(self, container_id: str) -> None:
        request = cri.StartContainerRequest(container_id=container_id)
        await self._runtime("StartContainer", request, cri.StartContainerResponse.FromString)

    async def stop_container(self, container_id: str, grace_s: int) -> None:
        request = cri.StopContainerRequest(container_id=container_id, timeout=grace_s)
        timeout_s = grace_s + _STOP_MARGIN_S
        await self._gone("StopContainer", request, cri.StopContainerResponse.FromString, timeout_s=timeout_s)

    async def remove_container(self, container_id: str) -> None:
        request = cri.RemoveContainerRequest(container_id=container_id)
        await self._gone("RemoveContainer", request, cri.RemoveContainerResponse.FromString)

    async def update_resources(self, container_id: str, resources: Resources) -> None:
        request = cri.UpdateContainerResourcesRequest(
            container_id=container_id, linux=cri_messages.linux_resources(resources)
        )
        await self._runtime("UpdateContainerResources", request, cri.UpdateContainerResourcesResponse.FromString)

    async def container(self, container_id: str) -> ContainerRecord:
        request = cri.ContainerStatusRequest(container_id=container_id)
        answer = await self._runtime("ContainerStatus", request, cri.ContainerStatusResponse.FromString)
        return cri_messages.container_status(answer.status)

    async def reopen_log(self, container_id: str) -> None:
        request = cri.ReopenContainerLogRequest(container_id=container_id)
        await self._runtime("ReopenContainerLog", request, cri.ReopenContainerLogResponse.FromString)

    async def exec(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        # The runtime counts whole seconds and 0 means no limit; the call's own deadline bounds a runtime that hangs.
        seconds = max(1, round(timeout_s)) if timeout_s else 0
        request = cri.ExecSyncRequest(container_id=container_id, cmd=list(command), timeout=seconds)
        limit_s = seconds + _CALL_TIMEOUT_S if seconds else _PULL_TIMEOUT_S
        answer = await self._runtime("ExecSync", request, cri.ExecSyncResponse.FromString, timeout_s=limit_s)
        return ExecResult(answer.stdout, answer.stderr, answer.exit_code)

    async def stream_url(
        self,
        stream: Stream,
        target_id: str,
        *,
        command: Sequence[str] = (),
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        tty: bool = False,
        ports: Sequence[int] = (),
    ) -> str:
        streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "tty": tty}
        if stream is Stream.EXEC:
            exec_request = cri.ExecRequest(container_id=target_id, cmd=list(command), **streams)
            answer: Any = await self._runtime("Exec", exec_request, cri.ExecResponse.FromString)
        elif stream is Stream.ATTACH:
            attach_request = cri.AttachRequest(container_id=target_id, **streams)
            answer = await self._runtime("Attach", attach_request, cri.AttachResponse.FromString)
        else:
            forward_request = cri.PortForwardRequest(pod_sandbox_id=target_id, port=list(ports))
            answer = await self._runtime("PortForward", forward_request, cri.PortForwardResponse.FromString)
        return str(answer.url)

    async def image(self, reference: str) -> Image | None:
        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=reference))
        answer = await self._images("ImageStatus", request, cri.ImageStatusResponse.FromString)
        return cri_messages.image(answer.image) if answer.image.id else None

    async def images(self) -> Sequence[Image]:
        answer = await self._images("ListImages", cri.ListImagesRequest(), cri.ListImagesResponse.FromString)
        return [cri_messages.image(item) for item in answer.images]

    async def pull(self, reference: str, credentials: Credentials | None, sandbox: SandboxSpec | None) -> str:
        request = cri.PullImageRequest(
            image=cri.ImageSpec(image=reference),
            auth=cri_messages.auth(credentials) if credentials is not None else None,
            sandbox_config=cri_messages.sandbox_config(sandbox) if sandbox is not None else None,
        )
        answer = await self._images("PullImage", request, cri.PullImageResponse.FromString, timeout_s=_PULL_TIMEOUT_S)
        return str(answer.image_ref)

    async def remove_image(self, reference: str) -> None:
        request = cri.RemoveImageRequest(image=cri.ImageSpec(image=reference))
        await self._images("RemoveImage", request, cri.RemoveImageResponse.FromString)

    async def image_filesystem(self) -> FilesystemUsage | None:
        answer = await self._images("ImageFsInfo", cri.ImageFsInfoRequest(), cri.ImageFsInfoResponse.FromString)
        usages = [cri_messages.filesystem(usage) for usage in answer.image_filesystems]
        return usages[0] if usages else None

    async def usage(self, pod_uid: UID | None = None) -> Sequence[ContainerUsage]:
        selector = {POD_UID_LABEL: pod_uid} if pod_uid else {}
        request = cri.ListContainerStatsRequest(filter=cri.ContainerStatsFilter(label_selector=selector))
        answer = await self._runtime("ListContainerStats", request, cri.ListContainerStatsResponse.FromString)
        return [cri_messages.usage(stats) for stats in answer.stats]

    async def set_pod_cidr(self, cidr: str) -> None:
        network = cri.NetworkConfig(pod_cidr=cidr)
        request = cri.UpdateRuntimeConfigRequest(runtime_config=cri.RuntimeConfig(network_config=network))
        await self._runtime("UpdateRuntimeConfig", request, cri.UpdateRuntimeConfigResponse.FromString)

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        """CRI's own events (GetContainerEvents), or containerd's where the runtime has no such call (before 1.7)."""
        try:
            path = "/runtime.v1.RuntimeService/GetContainerEvents"
            async for event in self._channel.stream(
                path, cri.GetEventsRequest(), cri.ContainerEventResponse.FromString
            ):
                yield cri_messages.event(event)
            return
        except RpcFailure as failure:
            if failure.code is not RpcCode.UNIMPLEMENTED:
                raise _mapped(failure) from None
        try:
            async for task_event in containerd_events.subscribe(self._channel):
                yield task_event
        except RpcFailure as failure:
            raise _mapped(failure) from None

    async def close(self) -> None:
        await self._channel.close()

    async def _gone(
        self, method: str, request: Message, response: Callable[[bytes], Any], *, timeout_s: float = _CALL_TIMEOUT_S
    ) -> None:
        try:
            await self._runtime(method, request, response, timeout_s=timeout_s)
        except NotFoundInRuntime:
            return

    async def _runtime(
        self,
        method: str,
        request: Message,
        response: Callable[[bytes], Response],
        *,
        timeout_s: float = _CALL_TIMEOUT_S,
    ) -> Response:
        return await self._call(f"/runtime.v1.RuntimeService/{method}", request, response, timeout_s)

    async def _images(
        self,
        method: str,
        request: Message,
        response: Callable[[bytes], Response],
        *,
        timeout_s: float = _CALL_TIMEOUT_S,
    ) -> Response:
        return await self._call(f"/runtime.v1.ImageService/{method}", request, response, timeout_s)

    async def _call(
        self, path: str, request: Message, response: Callable[[bytes], Response], timeout_s: float
    ) -> Response:
        try:
            return await self._channel.call(path, request, response, timeout_s=timeout_s)
        except RpcFailure as failure:
            raise _mapped(failure) from None


def _mapped(failure: RpcFailure) -> RuntimeFailure:
    # Upstream's texts quote errors as gRPC's Go client prints them, and events are matched on that.
    text = f"rpc error: code = {_GO_NAMES[failure.code]} desc = {failure.details}"
    if failure.code is RpcCode.NOT_FOUND:
        return NotFoundInRuntime(text)
    if failure.code is RpcCode.DEADLINE_EXCEEDED:
        return RuntimeTimeout(text)
    if failure.code is RpcCode.UNAVAILABLE:
        return RuntimeUnavailable(text)
    return RuntimeFailure(text)


_GO_NAMES = {code: "".join(word.capitalize() for word in code.name.split("_")) for code in RpcCode}
