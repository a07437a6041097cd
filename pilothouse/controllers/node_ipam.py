"""Gives every node a part of the pod network. A key is a Node's name. Source: upstream `pkg/controller/nodeipam` (range allocator)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from pilothouse.api import meta, status
from pilothouse.api.gvr import NODES
from pilothouse.api.meta import Object
from pilothouse.api.views.node import NodeView
from pilothouse.client.events import NORMAL
from pilothouse.controllers.runtime import Context, Controller

Network = IPv4Network | IPv6Network


class Pool:
    """The subnets of `mask` bits in a network. They are given out in turn, so that one that was freed is not soon used again."""

    def __init__(self, network: Network, mask: int, reserved: Iterable[Network] = ()) -> None:
        if mask < network.prefixlen:
            raise ValueError(f"{network} has no room for subnets of /{mask}")
        self.network = network
        self._mask = mask
        self._size = 1 << (mask - network.prefixlen)
        self._used: set[int] = set()
        self._next = 0
        for other in reserved:
            self.occupy(other)

    def take(self) -> Network | None:
        """A subnet that nobody has, or None."""
        for step in range(self._size):
            index = (self._next + step) % self._size
            if index not in self._used:
                self._used.add(index)
                self._next = (index + 1) % self._size
                return self._subnet(index)
        return None

    def occupy(self, network: Network) -> None:
        """Everything that overlaps `network` is taken."""
        self._used.update(self._indexes(network))

    def release(self, network: Network) -> None:
        self._used.difference_update(self._indexes(network))

    def _indexes(self, network: Network) -> range:
        if network.version != self.network.version or not self.network.overlaps(network):
            return range(0)
        if network.prefixlen <= self.network.prefixlen:
            return range(self._size)
        shift = self.network.max_prefixlen - self._mask
        base = int(self.network.network_address)
        first = (int(network.network_address) - base) >> shift
        last = (int(network.broadcast_address) - base) >> shift
        return range(first, last + 1)

    def _subnet(self, index: int) -> Network:
        shift = self.network.max_prefixlen - self._mask
        address = int(self.network.network_address) + (index << shift)
        return type(self.network)((address, self._mask))


class NodeIPAMController(Controller):
    """The control loop."""

    name = "node-ipam-controller"
    account = "node-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        options = context.options
        services = [ip_network(cidr) for cidr in options.service_cidrs]
        masks = {4: options.node_cidr_mask_ipv4, 6: options.node_cidr_mask_ipv6}
        networks = [ip_network(cidr) for cidr in options.cluster_cidrs]
        self._pools = [Pool(network, masks[network.version], services) for network in networks]
        self._events = context.recorder("cidrAllocator")
        self._nodes = context.informers.of(NODES)
        self.follow(self._nodes, self._node_changed)

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None or not self._pools or NodeView(node).pod_cidrs:
            return None
        taken = self._take()
        if not taken:
            message = f"Node {key} status is now: CIDRNotAvailable"
            self._events.event(node, NODES, NORMAL, "CIDRNotAvailable", message)
            raise status.ServiceUnavailable(f"the pod network has no room for node {key}")
        cidrs = [str(network) for network in taken]
        patch = {"metadata": {"uid": meta.uid_of(node)}, "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}}
        try:
            await self.client.patch(NODES, "", key, patch)
        except status.StatusError as error:
            # After a time-out it may have been written all the same: then the node's own report settles it.
            if not isinstance(error, (status.Timeout, status.ServiceUnavailable, status.ServerTimeout)):
                self._release(taken)
            if not isinstance(error, status.NotFound):
                raise
        return None

    def _take(self) -> list[Network]:
        """One subnet of each pool, or nothing."""
        taken: list[Network] = []
        for pool in self._pools:
            network = pool.take()
            if network is None:
                self._release(taken)
                return []
            taken.append(network)
        return taken

    def _release(self, networks: Sequence[Network]) -> None:
        for network in networks:
            for pool in self._pools:
                pool.release(network)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None:
                self._release([ip_network(cidr) for cidr in NodeView(old).pod_cidrs])
            return
        cidrs = NodeView(new).pod_cidrs
        for cidr in cidrs:
            for pool in self._pools:
                pool.occupy(ip_network(cidr))
        if not cidrs:
            self.queue.add(meta.name_of(new))
