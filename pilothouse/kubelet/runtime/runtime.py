"""The seam between the kubelet and a container runtime. Errors are those of `RuntimeFailure`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import Enum
from typing import Protocol

from pilothouse.api.meta import UID
from pilothouse.kubelet.runtime.records import (
    ContainerRecord,
    ContainerUsage,
    ExecResult,
    FilesystemUsage,
    Image,
    PodRecord,
    RuntimeConditions,
    RuntimeEvent,
    RuntimeVersion,
)
from pilothouse.kubelet.runtime.specs import ContainerSpec, Credentials, Resources, SandboxSpec


class Stream(Enum):
    """A streaming service of the runtime: where it answers is a URL."""

    EXEC = "exec"
    ATTACH = "attach"
    PORT_FORWARD = "port-forward"


class Runtime(Protocol):
    """A container runtime."""

    async def version(self) -> RuntimeVersion: ...

    async def conditions(self) -> RuntimeConditions: ...

    async def pods(self) -> Mapping[UID, PodRecord]:
        """Everything that it has, cheaply: only ids, names, attempts, states and times of creation are filled in."""

    async def pod(self, uid: UID, known: PodRecord | None = None) -> PodRecord:
        """All about one pod. What is final in `known` (containers that have ended) need not be asked for again."""

    async def run_sandbox(self, spec: SandboxSpec) -> str: ...

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Idempotent; kills the containers that still run in it."""

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Idempotent; removes its containers, too."""

    async def create_container(self, sandbox_id: str, spec: ContainerSpec, sandbox: SandboxSpec) -> str: ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, grace_s: int) -> None:
        """Idempotent. Returns when it has ended."""

    async def remove_container(self, container_id: str) -> None:
        """Idempotent."""

    async def update_resources(self, container_id: str, resources: Resources) -> None: ...

    async def container(self, container_id: str) -> ContainerRecord:
        """Raises NotFoundInRuntime."""

    async def reopen_log(self, container_id: str) -> None: ...

    async def exec(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        """Run a command to its end. Raises RuntimeTimeout."""

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
        """Where the runtime serves a stream: of a container for EXEC and ATTACH, of a sandbox for PORT_FORWARD."""

    async def image(self, reference: str) -> Image | None: ...

    async def images(self) -> Sequence[Image]: ...

    async def pull(self, reference: str, credentials: Credentials | None, sandbox: SandboxSpec | None) -> str:
        """The reference of the image that was pulled."""

    async def remove_image(self, reference: str) -> None: ...

    async def image_filesystem(self) -> FilesystemUsage | None: ...

    async def usage(self, pod_uid: UID | None = None) -> Sequence[ContainerUsage]: ...

    async def set_pod_cidr(self, cidr: str) -> None: ...

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """What happens from now on. Ends, or raises RuntimeFailure, when the runtime goes away or has no events."""

    async def close(self) -> None: ...
