from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.views.pod import PodView
from pilothouse.kubelet.name_resolution import (
    host_and_domain,
    hosts_file,
    kernel_hostname,
    parse_resolv_conf,
    pod_dns,
)
from pilothouse.kubelet.runtime.specs import Dns

HOST = Dns(("1.1.1.1",), ("example.com",), ("timeout:2",))
CLUSTER = (("10.96.0.10",), "cluster.local", HOST)


def view(name: str = "web", **spec: Any) -> PodView:
    return PodView({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})


def test_resolv_conf() -> None:
    text = "# c\nnameserver 1.1.1.1\nnameserver\nsearch old\nsearch a.b. c\noptions ndots:2 rotate\noptions ndots:3\n"
    assert parse_resolv_conf(text) == Dns(("1.1.1.1",), ("a.b", "c"), ("ndots:3", "rotate"))


def test_cluster_first() -> None:
    dns = pod_dns(view(), *CLUSTER)
    assert dns.servers == ("10.96.0.10",)
    assert dns.searches == ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com")
    assert dns.options == ("ndots:5",)


def test_policies() -> None:
    assert pod_dns(view(dnsPolicy="Default"), *CLUSTER) == HOST
    assert pod_dns(view(hostNetwork=True), *CLUSTER) == HOST
    assert pod_dns(view(dnsPolicy="ClusterFirstWithHostNet", hostNetwork=True), *CLUSTER).servers == ("10.96.0.10",)
    config = {"nameservers": ["9.9.9.9"], "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}]}
    assert pod_dns(view(dnsPolicy="None", dnsConfig=config), *CLUSTER) == Dns(("9.9.9.9",), (), ("ndots:1", "edns0"))
    assert pod_dns(view(dnsConfig=config), *CLUSTER).options == ("ndots:1", "edns0")


def test_what_resolvers_cannot_take_is_cut() -> None:
    config = {"nameservers": [f"9.9.9.{n}" for n in range(5)], "searches": [f"{n}.{'x' * 100}" for n in range(40)]}
    dns = pod_dns(view(dnsConfig=config), *CLUSTER)
    assert len(dns.servers) == 3
    assert len(" ".join(dns.searches)) <= 2048


def test_hostnames() -> None:
    assert host_and_domain(view(), "cluster.local") == ("web", "")
    assert host_and_domain(view("a" * 62 + ".b"), "cluster.local") == ("a" * 62, "")
    named = view(hostname="h", subdomain="s")
    assert host_and_domain(named, "cluster.local") == ("h", "s.shop.svc.cluster.local")
    assert kernel_hostname(named, "cluster.local") == "h"
    full = view(hostname="h", subdomain="s", setHostnameAsFQDN=True)
    assert kernel_hostname(full, "cluster.local") == "h.s.shop.svc.cluster.local"
    with pytest.raises(ValueError, match="is too long"):
        kernel_hostname(view(hostname="h" * 60, subdomain="s", setHostnameAsFQDN=True), "cluster.local")


def test_hosts_files() -> None:
    aliases = [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]
    text = hosts_file(view(hostname="h", subdomain="s", hostAliases=aliases), ["10.0.0.1"], "cluster.local", "")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.0.0.1\th.s.shop.svc.cluster.local\th\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n")
    on_host = hosts_file(view(hostNetwork=True), [], "cluster.local", "127.0.0.1 me\n")
    assert on_host == "# Kubernetes-managed hosts file (host network).\n127.0.0.1 me\n"
