"""Typed reading of Services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api.view import View


class ServiceView(View):
    """A Service."""

    __slots__ = ()

    @property
    def type(self) -> str:
        return str(self.spec.get("type", "ClusterIP"))

    @property
    def selector(self) -> Mapping[str, str]:
        """Empty for a Service whose endpoints someone else writes."""
        return self.spec.get("selector") or {}

    @property
    def ports(self) -> Sequence[Mapping[str, Any]]:
        return self.spec.get("ports") or ()

    @property
    def cluster_ip(self) -> str:
        """An address, `None` for a headless Service, or empty."""
        return str(self.spec.get("clusterIP", ""))

    @property
    def cluster_ips(self) -> Sequence[str]:
        """One address a family; empty for a headless Service and for an ExternalName."""
        addresses = self.spec.get("clusterIPs") or ([self.cluster_ip] if self.cluster_ip else [])
        return [address for address in addresses if address and address != "None"]

    @property
    def is_headless(self) -> bool:
        return self.cluster_ip == "None"

    @property
    def external_name(self) -> str:
        return str(self.spec.get("externalName", ""))

    @property
    def external_ips(self) -> Sequence[str]:
        return self.spec.get("externalIPs") or ()

    @property
    def ip_families(self) -> Sequence[str]:
        """`IPv4`, `IPv6`, the primary one first."""
        return self.spec.get("ipFamilies") or ()

    @property
    def publishes_not_ready(self) -> bool:
        return bool(self.spec.get("publishNotReadyAddresses"))

    @property
    def is_internal_local(self) -> bool:
        """Whether the ClusterIP leads to endpoints of the same node only."""
        return self.spec.get("internalTrafficPolicy") == "Local"

    @property
    def is_external_local(self) -> bool:
        """Whether traffic from outside leads to endpoints of the node that it arrives at only."""
        return self.spec.get("externalTrafficPolicy") == "Local"

    @property
    def affinity_timeout_s(self) -> int | None:
        """How long a client stays with its endpoint; None without session affinity."""
        if self.spec.get("sessionAffinity") != "ClientIP":
            return None
        client_ip = (self.spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        return int(client_ip.get("timeoutSeconds") or 10800)

    @property
    def health_check_node_port(self) -> int:
        return int(self.spec.get("healthCheckNodePort") or 0)

    @property
    def load_balancer_source_ranges(self) -> Sequence[str]:
        ranges = self.spec.get("loadBalancerSourceRanges")
        if ranges:
            return [str(cidr).strip() for cidr in ranges]
        annotation = self.annotations.get("service.beta.kubernetes.io/load-balancer-source-ranges", "")
        return [cidr.strip() for cidr in annotation.split(",") if cidr.strip()]

    @property
    def load_balancer_ingress(self) -> Sequence[Mapping[str, Any]]:
        return (self.status.get("loadBalancer") or {}).get("ingress") or ()

    @property
    def load_balancer_ips(self) -> Sequence[str]:
        """The load balancer's addresses that nodes answer for (`ipMode` VIP, which is the default)."""
        if self.type != "LoadBalancer":
            return ()
        return [
            str(one["ip"]) for one in self.load_balancer_ingress if one.get("ip") and one.get("ipMode", "VIP") == "VIP"
        ]
