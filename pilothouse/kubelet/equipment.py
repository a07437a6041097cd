"""What the workers of all pods of a node share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from pilothouse.api.gvr import PODS
from pilothouse.api.meta import UID, Object
from pilothouse.api.views.pod import PodView
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.kit.clock import Clock
from pilothouse.kubelet.hooks import Hooks
from pilothouse.kubelet.images import Images
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.kubelet.reporter import StatusReporter
from pilothouse.kubelet.restart import CrashBackoff
from pilothouse.kubelet.runtime.runtime import Runtime
from pilothouse.kubelet.runtime.specs import Dns
from pilothouse.kubelet.seams import Cgroups, Environment, Files, Prober, Volumes


@dataclass(slots=True)
class Host:
    """What is known of the node now. Kept up to date by the kubelet."""

    runtime_name: str = "containerd"
    dns: Dns = field(default_factory=Dns)
    network_problem: str = ""
    """Why pods cannot be connected to the network; empty if they can."""


@dataclass(frozen=True, slots=True)
class Equipment:
    options: KubeletOptions
    clock: Clock
    rng: random.Random
    client: Client
    runtime: Runtime
    volumes: Volumes
    environment: Environment
    prober: Prober
    cgroups: Cgroups
    files: Files
    images: Images
    hooks: Hooks
    reporter: StatusReporter
    recorder: EventRecorder
    host: Host
    node: Callable[[], Object | None]
    """This node's object."""
    backoff: CrashBackoff
    sandbox_starts: asyncio.Semaphore
    """Bounds how many sandboxes are made at once: a few abreast are faster than all together."""
    owners: dict[str, UID]
    """The pod of each container and sandbox, by its ID."""

    def tell(self, pod: PodView, type: str, reason: str, message: str, *, container: str = "", kind: str = "") -> None:
        """Record an event about a pod, or about one of its containers (`kind` is the field of the spec it is in)."""
        field_path = f"spec.{kind or 'containers'}{{{container}}}" if container else ""
        self.recorder.event(pod.obj, PODS, type, reason, message, field_path=field_path)
