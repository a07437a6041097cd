"""A kubelet put together: over a container runtime, or simulated."""

from __future__ import annotations

import random
from collections.abc import Callable

from pilothouse.api.gvr import NODES, PODS, SERVICES
from pilothouse.api.meta import UID, Object, uid_of
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informer, InformerFactory
from pilothouse.kit.clock import Clock
from pilothouse.kubelet.kubelet import Kubelet, Parts
from pilothouse.kubelet.machine import Machine
from pilothouse.kubelet.options import KubeletOptions

SIMULATED_MACHINE = Machine(
    cpus=8,
    memory_bytes=32 * 1024**3,
    disk_bytes=200 * 1024**3,
    hugepages=(),
    machine_id="",
    system_uuid="",
    boot_id="",
    kernel_version="simulated",
    os_image="Pilothouse simulated node",
    architecture="amd64",
)


def real(
    client: Client,
    services: Informer | None,
    runtime_endpoint: str,
    systemd_cgroups: bool,
    options: KubeletOptions,
    clock: Clock,
) -> Kubelet:
    """A kubelet over the CRI at `runtime_endpoint`. `services` is a copy of all Services that somebody else keeps."""
    from pilothouse.kubelet.cgroups import Naming, PodCgroups
    from pilothouse.kubelet.container_files import PodFiles
    from pilothouse.kubelet.cri import CriRuntime
    from pilothouse.kubelet.environment import PodEnvironment
    from pilothouse.kubelet.machine import read_machine
    from pilothouse.kubelet.probes.prober import PodProber
    from pilothouse.kubelet.volumes.pod_volumes import PodVolumes

    rng = random.Random()
    informers = InformerFactory(client, clock, rng)
    recorder = EventRecorder(client, "kubelet", options.node_name, clock, rng=rng)
    machine = read_machine(options.root_dir)
    node = _node_of(informers, options)
    runtime = CriRuntime(runtime_endpoint)
    parts = Parts(
        runtime=runtime,
        volumes=PodVolumes(client, options, node, clock, rng),
        environment=PodEnvironment(client, services or informers.of(SERVICES), node),
        prober=PodProber(runtime, recorder, clock, rng),
        cgroups=PodCgroups(Naming.SYSTEMD if systemd_cgroups else Naming.CGROUPFS, machine.memory_bytes),
        files=PodFiles(options),
    )
    return Kubelet(client, informers, parts, machine, recorder, options, clock, rng)


def simulated(client: Client, options: KubeletOptions, clock: Clock, rng: random.Random) -> Kubelet:
    """A kubelet whose containers are only remembered."""
    from pilothouse.kubelet.container_files import NoFiles
    from pilothouse.kubelet.simulated import (
        AlwaysHealthy,
        Behaviour,
        NoCgroups,
        NoEnvironment,
        NoVolumes,
        SimulatedRuntime,
    )

    informers = InformerFactory(client, clock, rng)
    recorder = EventRecorder(client, "kubelet", options.node_name, clock, rng=rng)
    pods = informers.of(
        PODS, field_selector=f"spec.nodeName={options.node_name}", indexers={"uid": lambda obj: (uid_of(obj),)}
    )

    def pod(uid: UID) -> Object | None:
        return next(iter(pods.by_index("uid", uid)), None)

    parts = Parts(
        runtime=SimulatedRuntime(Behaviour(pod), clock, rng),
        volumes=NoVolumes(),
        environment=NoEnvironment(),
        prober=AlwaysHealthy(),
        cgroups=NoCgroups(),
        files=NoFiles(),
    )
    return Kubelet(client, informers, parts, SIMULATED_MACHINE, recorder, options, clock, rng)


def _node_of(informers: InformerFactory, options: KubeletOptions) -> Callable[[], Object | None]:
    nodes = informers.of(NODES, field_selector=f"metadata.name={options.node_name}")
    return lambda: nodes.get(options.node_name)
