"""Between the kubelet's values and the messages of CRI v1. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cri_api.v1 import api_pb2

from pilothouse.api.meta import UID
from pilothouse.kubelet.runtime.labels import CONTAINER_NAME_LABEL, POD_UID_LABEL
from pilothouse.kubelet.runtime.records import (
    ContainerRecord,
    ContainerState,
    ContainerUsage,
    FilesystemUsage,
    Image,
    PodRecord,
    RuntimeConditions,
    RuntimeEvent,
    SandboxRecord,
)
from pilothouse.kubelet.runtime.specs import (
    ContainerSpec,
    Credentials,
    Mount,
    Namespaces,
    Resources,
    SandboxSpec,
    Seccomp,
    Security,
)

cri: Any = api_pb2
"""The generated messages; their stubs type enums in a way that no plain number fits."""

_NANO = 1e-9
_STATES = {
    0: ContainerState.CREATED,
    1: ContainerState.RUNNING,
    2: ContainerState.EXITED,
    3: ContainerState.UNKNOWN,
}
_PROTOCOLS = {"TCP": 0, "UDP": 1, "SCTP": 2}
_EVENT_KINDS = {0: "create", 1: "start", 2: "exit", 3: "delete"}
_SANDBOX_READY = 0
_NODE_NETWORK = 2

# What CRI gives


def pods(sandboxes: Iterable[Any], containers: Iterable[Any]) -> dict[UID, PodRecord]:
    """Records by pod of list answers, the newest sandboxes and containers first."""
    sandboxes_of: dict[UID, list[SandboxRecord]] = {}
    names: dict[UID, tuple[str, str]] = {}
    for item in sandboxes:
        uid = UID(item.metadata.uid)
        names[uid] = (item.metadata.name, item.metadata.namespace)
        sandboxes_of.setdefault(uid, []).append(_listed_sandbox(item))
    containers_of: dict[UID, list[ContainerRecord]] = {}
    for item in containers:
        uid = UID(item.labels.get(POD_UID_LABEL, ""))
        if uid:
            containers_of.setdefault(uid, []).append(_listed_container(item, uid))
    return {
        uid: PodRecord(
            uid,
            *names.get(uid, ("", "")),
            tuple(sorted(sandboxes_of.get(uid, ()), key=lambda sandbox: -sandbox.created_at)),
            tuple(sorted(containers_of.get(uid, ()), key=lambda container: -container.created_at)),
        )
        for uid in {**sandboxes_of, **containers_of}
    }


def _listed_sandbox(item: Any) -> SandboxRecord:
    metadata = item.metadata
    return SandboxRecord(
        item.id,
        UID(metadata.uid),
        metadata.name,
        metadata.namespace,
        metadata.attempt,
        item.state == _SANDBOX_READY,
        item.created_at * _NANO,
    )


def _listed_container(item: Any, uid: UID) -> ContainerRecord:
    return ContainerRecord(
        id=item.id,
        sandbox_id=item.pod_sandbox_id,
        name=item.labels.get(CONTAINER_NAME_LABEL) or item.metadata.name,
        attempt=item.metadata.attempt,
        state=_STATES.get(item.state, ContainerState.UNKNOWN),
        created_at=item.created_at * _NANO,
        pod_uid=uid,
        image=item.image.image,
        image_ref=item.image_ref,
        annotations=dict(item.annotations),
    )


def sandbox_status(status: Any) -> SandboxRecord:
    metadata = status.metadata
    host_network = status.linux.namespaces.options.network == _NODE_NETWORK
    ips = (status.network.ip, *(extra.ip for extra in status.network.additional_ips))
    return SandboxRecord(
        status.id,
        UID(metadata.uid),
        metadata.name,
        metadata.namespace,
        metadata.attempt,
        status.state == _SANDBOX_READY,
        status.created_at * _NANO,
        () if host_network else tuple(ip for ip in ips if ip),
        host_network,
    )


def container_status(status: Any) -> ContainerRecord:
    user = status.user.linux if status.HasField("user") and status.user.HasField("linux") else None
    return ContainerRecord(
        id=status.id,
        sandbox_id="",
        name=status.labels.get(CONTAINER_NAME_LABEL) or status.metadata.name,
        attempt=status.metadata.attempt,
        state=_STATES.get(status.state, ContainerState.UNKNOWN),
        created_at=status.created_at * _NANO,
        pod_uid=UID(status.labels.get(POD_UID_LABEL, "")),
        started_at=status.started_at * _NANO,
        finished_at=status.finished_at * _NANO,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        image=status.image.user_specified_image or status.image.image,
        image_ref=status.image_ref,
        image_id=status.image_id,
        log_path=status.log_path,
        annotations=dict(status.annotations),
        mounts={mount.container_path: mount.host_path for mount in status.mounts},
        user=(user.uid, user.gid, tuple(user.supplemental_groups)) if user is not None else None,
    )


def conditions(answer: Any) -> RuntimeConditions:
    by_type = {condition.type: condition for condition in answer.status.conditions}
    runtime, network = by_type.get("RuntimeReady"), by_type.get("NetworkReady")
    messages = [
        f"{label} not ready: {name}={str(condition.status).lower()} reason:{condition.reason} message:{condition.message}"
        for label, name, condition in (
            ("container runtime", "RuntimeReady", runtime),
            ("container runtime network", "NetworkReady", network),
        )
        if condition is not None and not condition.status
    ]
    handlers = tuple(answer.runtime_handlers)
    return RuntimeConditions(
        runtime is not None and runtime.status,
        network is not None and network.status,
        ", ".join(messages),
        tuple(handler.name for handler in handlers),
        any(not handler.name and handler.features.recursive_read_only_mounts for handler in handlers),
    )


def image(message: Any) -> Image:
    return Image(
        message.id,
        tuple(message.repo_tags),
        tuple(message.repo_digests),
        message.size,
        message.uid.value if message.HasField("uid") else None,
        message.username,
        message.pinned,
    )


def filesystem(usage: Any) -> FilesystemUsage:
    return FilesystemUsage(
        usage.fs_id.mountpoint, usage.used_bytes.value, usage.inodes_used.value, usage.timestamp * _NANO
    )


def usage(stats: Any) -> ContainerUsage:
    attributes, cpu, memory = stats.attributes, stats.cpu, stats.memory
    return ContainerUsage(
        attributes.id,
        attributes.labels.get(CONTAINER_NAME_LABEL) or attributes.metadata.name,
        UID(attributes.labels.get(POD_UID_LABEL, "")),
        max(cpu.timestamp, memory.timestamp) * _NANO,
        cpu.usage_core_nano_seconds.value,
        memory.working_set_bytes.value,
        memory.usage_bytes.value,
        memory.rss_bytes.value,
        memory.page_faults.value,
        memory.major_page_faults.value,
        filesystem(stats.writable_layer) if stats.HasField("writable_layer") else None,
    )


def event(message: Any) -> RuntimeEvent:
    uid = UID(message.pod_sandbox_status.metadata.uid)
    return RuntimeEvent(message.container_id, uid, _EVENT_KINDS.get(message.container_event_type, ""))


# What CRI takes


def sandbox_config(spec: SandboxSpec) -> Any:
    dns = spec.dns
    return cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=spec.name, uid=spec.uid, namespace=spec.namespace, attempt=spec.attempt),
        hostname=spec.hostname,
        log_directory=spec.log_directory,
        dns_config=cri.DNSConfig(servers=dns.servers, searches=dns.searches, options=dns.options) if dns else None,
        port_mappings=[
            cri.PortMapping(
                protocol=_PROTOCOLS[mapping.protocol],
                container_port=mapping.container_port,
                host_port=mapping.host_port,
                host_ip=mapping.host_ip,
            )
            for mapping in spec.port_mappings
        ],
        labels=dict(spec.labels),
        annotations=dict(spec.annotations),
        linux=cri.LinuxPodSandboxConfig(
            cgroup_parent=spec.cgroup_parent,
            security_context=_sandbox_security(spec.security),
            sysctls=dict(spec.sysctls),
            resources=linux_resources(spec.resources),
        ),
    )


def container_config(spec: ContainerSpec) -> Any:
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=spec.name, attempt=spec.attempt),
        image=cri.ImageSpec(image=spec.image, user_specified_image=spec.user_image),
        command=spec.command,
        args=spec.args,
        working_dir=spec.working_dir,
        envs=[cri.KeyValue(key=name, value=value) for name, value in spec.environment],
        mounts=[_mount(mount) for mount in spec.mounts],
        devices=[
            cri.Device(container_path=d.container_path, host_path=d.host_path, permissions=d.permissions)
            for d in spec.devices
        ],
        labels=dict(spec.labels),
        annotations=dict(spec.annotations),
        log_path=spec.log_path,
        stdin=spec.stdin,
        stdin_once=spec.stdin_once,
        tty=spec.tty,
        linux=cri.LinuxContainerConfig(
            resources=linux_resources(spec.resources), security_context=_container_security(spec.security)
        ),
    )


def _mount(mount: Mount) -> Any:
    return cri.Mount(
        container_path=mount.container_path,
        host_path=mount.host_path,
        readonly=mount.read_only,
        recursive_read_only=mount.recursive_read_only,
        propagation=mount.propagation.value,
        selinux_relabel=mount.selinux_relabel,
        image=cri.ImageSpec(image=mount.image) if mount.image else None,
        image_sub_path=mount.image_sub_path,
    )


def linux_resources(resources: Resources) -> Any:
    return cri.LinuxContainerResources(
        cpu_period=resources.cpu_period,
        cpu_quota=resources.cpu_quota,
        cpu_shares=resources.cpu_shares,
        memory_limit_in_bytes=resources.memory_limit_bytes,
        oom_score_adj=resources.oom_score_adj,
        unified=dict(resources.unified),
        hugepage_limits=[cri.HugepageLimit(page_size=s, limit=n) for s, n in resources.hugepage_limits.items()],
    )


def _sandbox_security(security: Security) -> Any:
    return cri.LinuxSandboxSecurityContext(
        namespace_options=_namespaces(security.namespaces),
        selinux_options=_selinux(security),
        run_as_user=_int64(security.run_as_user),
        run_as_group=_int64(security.run_as_group),
        readonly_rootfs=security.read_only_root,
        supplemental_groups=security.supplemental_groups,
        supplemental_groups_policy=int(security.strict_groups),
        privileged=security.privileged,
        seccomp=_profile(security.seccomp),
        apparmor=_profile(security.apparmor),
    )


def _container_security(security: Security) -> Any:
    return cri.LinuxContainerSecurityContext(
        capabilities=cri.Capability(
            add_capabilities=security.add_capabilities, drop_capabilities=security.drop_capabilities
        ),
        privileged=security.privileged,
        namespace_options=_namespaces(security.namespaces),
        selinux_options=_selinux(security),
        run_as_user=_int64(security.run_as_user),
        run_as_group=_int64(security.run_as_group),
        run_as_username=security.run_as_username,
        readonly_rootfs=security.read_only_root,
        supplemental_groups=security.supplemental_groups,
        supplemental_groups_policy=int(security.strict_groups),
        no_new_privs=security.no_new_privileges,
        masked_paths=security.masked_paths,
        readonly_paths=security.readonly_paths,
        seccomp=_profile(security.seccomp),
        apparmor=_profile(security.apparmor),
    )


def _namespaces(namespaces: Namespaces) -> Any:
    return cri.NamespaceOption(
        network=namespaces.network.value,
        pid=namespaces.pid.value,
        ipc=namespaces.ipc.value,
        target_id=namespaces.target_id,
    )


def _int64(value: int | None) -> Any:
    return None if value is None else cri.Int64Value(value=value)


def _profile(profile: Seccomp | None) -> Any:
    if profile is None:
        return None
    return cri.SecurityProfile(profile_type=profile.kind.value, localhost_ref=profile.path)


def _selinux(security: Security) -> Any:
    if security.selinux is None:
        return None
    user, role, type_, level = security.selinux
    return cri.SELinuxOption(user=user, role=role, type=type_, level=level)


def auth(credentials: Credentials) -> Any:
    return cri.AuthConfig(
        username=credentials.username,
        password=credentials.password,
        auth=credentials.auth,
        server_address=credentials.server_address,
        identity_token=credentials.identity_token,
        registry_token=credentials.registry_token,
    )
