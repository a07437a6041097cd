"""What the kubelet needs of a container runtime, in its own words.

`Runtime` is the seam: `cri.CriRuntime` implements it on a CRI socket, `simulated.SimulatedRuntime` without containers. Records
say what the runtime has, specs what it is to make. All are values; none holds a protobuf message, so that nothing but `cri` needs
gRPC.
Times are seconds since the epoch; 0 means never. Errors are those of `RuntimeFailure`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from pilothouse.api.meta import UID

POD_NAME_LABEL = "io.kubernetes.pod.name"
POD_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
POD_UID_LABEL = "io.kubernetes.pod.uid"
CONTAINER_NAME_LABEL = "io.kubernetes.container.name"

HASH_ANNOTATION = "io.kubernetes.container.hash"
RESTART_COUNT_ANNOTATION = "io.kubernetes.container.restartCount"
MESSAGE_PATH_ANNOTATION = "io.kubernetes.container.terminationMessagePath"
MESSAGE_POLICY_ANNOTATION = "io.kubernetes.container.terminationMessagePolicy"
PRE_STOP_ANNOTATION = "io.kubernetes.container.preStopHandler"
PORTS_ANNOTATION = "io.kubernetes.container.ports"
DELETION_GRACE_ANNOTATION = "io.kubernetes.pod.deletionGracePeriod"
TERMINATION_GRACE_ANNOTATION = "io.kubernetes.pod.terminationGracePeriod"


_NO_POD = UID("")


class RuntimeFailure(Exception):
    """The runtime could not do what it was asked; the text is its own."""


class RuntimeUnavailable(RuntimeFailure):
    """The runtime does not answer."""


class NotFoundInRuntime(RuntimeFailure):
    """The runtime has no such sandbox, container or image."""


class RuntimeTimeout(RuntimeFailure):
    """The runtime did not finish in time; whether it has done it is unknown."""


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


class NamespaceMode(Enum):
    POD = 0
    CONTAINER = 1
    NODE = 2
    TARGET = 3


@dataclass(frozen=True, slots=True)
class Namespaces:
    network: NamespaceMode = NamespaceMode.POD
    pid: NamespaceMode = NamespaceMode.CONTAINER
    ipc: NamespaceMode = NamespaceMode.POD
    target_id: str = ""


class SeccompKind(Enum):
    RUNTIME_DEFAULT = 0
    UNCONFINED = 1
    LOCALHOST = 2


@dataclass(frozen=True, slots=True)
class Seccomp:
    kind: SeccompKind = SeccompKind.UNCONFINED
    path: str = ""
    """Of the profile, for LOCALHOST."""


@dataclass(frozen=True, slots=True)
class Security:
    """The security context of a sandbox or a container, defaults applied."""

    namespaces: Namespaces = Namespaces()
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_username: str = ""
    supplemental_groups: tuple[int, ...] = ()
    strict_groups: bool = False
    """supplementalGroupsPolicy Strict: only those groups, not also the image's."""
    privileged: bool = False
    read_only_root: bool = False
    no_new_privileges: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    seccomp: Seccomp = Seccomp()
    apparmor: Seccomp | None = None
    selinux: tuple[str, str, str, str] | None = None
    """user, role, type, level."""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resources:
    """The limits of a container's or pod's cgroup; 0 leaves the kernel's default."""

    cpu_shares: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0
    memory_limit_bytes: int = 0
    oom_score_adj: int = 0
    unified: Mapping[str, str] = field(default_factory=dict)
    """Files of cgroup v2 by name."""
    hugepage_limits: Mapping[str, int] = field(default_factory=dict)


class Propagation(Enum):
    PRIVATE = 0
    HOST_TO_CONTAINER = 1
    BIDIRECTIONAL = 2


@dataclass(frozen=True, slots=True)
class Mount:
    """A host path, or an image, that a container sees."""

    container_path: str
    host_path: str
    read_only: bool = False
    recursive_read_only: bool = False
    propagation: Propagation = Propagation.PRIVATE
    selinux_relabel: bool = False
    image: str = ""
    image_sub_path: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the host that a container sees. `permissions` is of `rwm`."""

    container_path: str
    host_path: str
    permissions: str = "mrw"


@dataclass(frozen=True, slots=True)
class PortMapping:
    protocol: str
    container_port: int
    host_port: int
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Dns:
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """A sandbox to make."""

    name: str
    namespace: str
    uid: UID
    attempt: int
    hostname: str
    log_directory: str
    dns: Dns | None = None
    port_mappings: tuple[PortMapping, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    cgroup_parent: str = ""
    security: Security = Security()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = Resources()
    runtime_handler: str = ""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container to make in a sandbox. `image` is the reference to run, `user_image` what the user wrote."""

    name: str
    attempt: int
    image: str
    user_image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    log_path: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: Resources = Resources()
    security: Security = Security()


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
class Credentials:
    """How to log in at a registry."""

    username: str = ""
    password: str = ""
    auth: str = ""
    server_address: str = ""
    identity_token: str = ""
    registry_token: str = ""


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
