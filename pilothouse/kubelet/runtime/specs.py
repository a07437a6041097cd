"""What a runtime is to make, and with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from pilothouse.api.meta import UID


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
class Credentials:
    """How to log in at a registry."""

    username: str = ""
    password: str = ""
    auth: str = ""
    server_address: str = ""
    identity_token: str = ""
    registry_token: str = ""
