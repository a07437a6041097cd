"""The kubelet: runs the pods that are bound to its node.

It watches pods with `spec.nodeName`, gives each UID a worker (`workers`), wakes workers on changes of the pod, of the runtime
(`lifecycle`), of probes and of volumes, and reports the node (`node`, `lease`). It takes no argv and reads no environment.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pilothouse.api.meta import UID, Object
from pilothouse.client.client import Client
from pilothouse.kit.clock import Clock
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.kubelet.runtime import PodRecord, Runtime
from pilothouse.kubelet.seams import Cgroups, Environment, Prober, Volumes


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that the core works with."""

    runtime: Runtime
    volumes: Volumes
    environment: Environment
    prober: Prober
    cgroups: Cgroups


class Kubelet:
    """A node's agent."""

    def __init__(
        self, client: Client, parts: Parts, options: KubeletOptions, clock: Clock, rng: random.Random | None = None
    ) -> None:
        self.options = options
        self.parts = parts
        self._client = client
        self._clock = clock
        self._rng = rng or random.Random()

    def pods(self) -> Sequence[Object]:
        """The pods that it runs, with their status as this kubelet has it last computed."""
        raise NotImplementedError

    def pod(self, namespace: str, name: str) -> Object | None:
        """One of `pods`."""
        raise NotImplementedError

    def record(self, uid: UID) -> PodRecord | None:
        """What the runtime had of a pod when its worker last looked."""
        raise NotImplementedError

    async def run(self) -> None:
        """Register the node and run its pods until cancelled. Containers keep running afterwards."""
        raise NotImplementedError
