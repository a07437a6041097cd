"""A machine made ready to be a node, and given back as it was."""

from __future__ import annotations

import asyncio

from pilothouse.api.gvr import NODES
from pilothouse.api.meta import Object
from pilothouse.api.view import View
from pilothouse.client.informer import InformerFactory
from pilothouse.kit.clock import Clock, SystemClock
from pilothouse.kit.mounts import unmount_below
from pilothouse.main.paths import Paths
from pilothouse.main.runtime.containerd import Containerd, ContainerdOptions
from pilothouse.main.runtime.host import apply_settings, share_mounts
from pilothouse.main.runtime.network import NetworkOptions, NodeNetwork
from pilothouse.main.settings import Settings


class NodeHost:
    """The containerd and the network of this machine's node."""

    def __init__(self, paths: Paths, settings: Settings, clock: Clock | None = None) -> None:
        self._paths = paths
        self._settings = settings
        self._clock = clock or SystemClock()
        self.containerd_options = ContainerdOptions.under(paths.data, paths.run, paths.logs)
        self.containerd = Containerd(self.containerd_options, self._clock)

    def prepare(self) -> None:
        """Kernel settings and mount propagation. Raises HostError."""
        apply_settings()
        share_mounts()

    def network(self, pod_cidrs: tuple[str, ...]) -> NodeNetwork:
        """The pods' network, once the node's range is known."""
        return NodeNetwork(
            NetworkOptions(
                configuration=self.containerd_options.cni_configuration,
                state=self._paths.run / "cni",
                pod_cidrs=pod_cidrs,
                cluster_cidrs=(self._settings.pod_cidr,),
            )
        )

    async def clean(self) -> None:
        """Remove containers, mounts, namespaces, the bridge and all nft tables. Images and pods' volumes stay on disk."""
        from pilothouse.proxy.backends import nftables

        await self.containerd.clean()
        unmount_below([self._paths.data, self._paths.run])
        await self.network((self._settings.pod_cidr,)).clean()
        nftables.cleanup()


class PodNetwork:
    """Sets the pods' network up as soon as the node has its range, and again when that changes."""

    def __init__(self, host: NodeHost, informers: InformerFactory, node_name: str) -> None:
        self._host = host
        self._nodes = informers.of(NODES, field_selector=f"metadata.name={node_name}")
        self._cidrs: tuple[str, ...] = ()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        unsubscribe = self._nodes.subscribe(self._on_node)
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._host.network(self._cidrs).set_up()
        finally:
            unsubscribe()

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        cidrs = tuple(View(new).spec.get("podCIDRs") or ()) if new is not None else ()
        if cidrs and cidrs != self._cidrs:
            self._cidrs = cidrs
            self._changed.set()
