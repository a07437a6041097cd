"""What a runtime has and tells. Times are seconds since the epoch; 0 means never."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from pilothouse.api.meta import UID
from pilothouse.kubelet.runtime.labels import HASH_ANNOTATION, RESTART_COUNT_ANNOTATION

_NO_POD = UID("")


class ContainerState(Enum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A container as the runtime has it."""

    id: str
    sandbox_id: str
    name: str
    attempt: int
    state: ContainerState
    created_at: float
    pod_uid: UID = _NO_POD
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_ref: str = ""
    image_id: str = ""
    log_path: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Host path by path in the container."""
    user: tuple[int, int, tuple[int, ...]] | None = None
    """uid, gid and supplemental groups of its first process, where the runtime tells."""

    @property
    def is_running(self) -> bool:
        return self.state is ContainerState.RUNNING

    @property
    def restart_count(self) -> int:
        text = self.annotations.get(RESTART_COUNT_ANNOTATION, "")
        return int(text) if text.isdigit() else self.attempt

    @property
    def hash(self) -> str:
        return self.annotations.get(HASH_ANNOTATION, "")


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    """A pod's sandbox as the runtime has it."""

    id: str
    pod_uid: UID
    pod_name: str
    pod_namespace: str
    attempt: int
    is_ready: bool
    created_at: float
    ips: tuple[str, ...] = ()
    host_network: bool = False


@dataclass(frozen=True, slots=True)
class PodRecord:
    """All that the runtime has of one pod, the newest first."""

    uid: UID
    name: str = ""
    namespace: str = ""
    sandboxes: tuple[SandboxRecord, ...] = ()
    containers: tuple[ContainerRecord, ...] = ()

    def container(self, name: str) -> ContainerRecord | None:
        """The newest container of that name."""
        return next((container for container in self.containers if container.name == name), None)

    @property
    def running(self) -> tuple[ContainerRecord, ...]:
        """The containers that may still have processes."""
        return tuple(c for c in self.containers if c.state in (ContainerState.RUNNING, ContainerState.UNKNOWN))

    @property
    def ready_sandbox(self) -> SandboxRecord | None:
        return next((sandbox for sandbox in self.sandboxes if sandbox.is_ready), None)

    @property
    def ips(self) -> tuple[str, ...]:
        """The pod's addresses, those of the newest sandbox; empty on the host's network."""
        sandbox = self.ready_sandbox
        return sandbox.ips if sandbox is not None else ()


@dataclass(frozen=True, slots=True)
class Image:
    """`user` is what the image's processes run as: a uid, or a name if that is all it says."""

    id: str
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    size_bytes: int = 0
    uid: int | None = None
    username: str = ""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class ExecResult:
    stdout: bytes
    stderr: bytes
    exit_code: int


@dataclass(frozen=True, slots=True)
class RuntimeVersion:
    """`name` prefixes container IDs: `containerd://…`."""

    name: str
    version: str
    api_version: str = "v1"


@dataclass(frozen=True, slots=True)
class RuntimeConditions:
    """Whether pods and their network can be set up, with the runtime's message where not."""

    runtime_ready: bool
    network_ready: bool
    message: str = ""
    handlers: tuple[str, ...] = ()
    recursive_read_only: bool = False


@dataclass(frozen=True, slots=True)
class FilesystemUsage:
    mountpoint: str
    used_bytes: int
    inodes_used: int
    timestamp: float


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """What a container has used. CPU time is cumulative."""

    container_id: str
    name: str
    pod_uid: UID
    timestamp: float
    cpu_nanoseconds: int
    memory_working_set_bytes: int
    memory_usage_bytes: int
    memory_rss_bytes: int
    page_faults: int
    major_page_faults: int
    root_filesystem: FilesystemUsage | None = None


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """Something happened to a container or sandbox. `pod_uid` is empty where the runtime's event does not tell it."""

    container_id: str
    pod_uid: UID = _NO_POD
    kind: str = ""
    """`start`, `exit`, `oom`, `create` or `delete`."""
