"""A dry run of a Service shows what it would get and takes nothing."""

from __future__ import annotations

from typing import Any

from pilothouse.api import gvr
from tests.apiserver.harness import RANGE, Harness, service

URL = "/api/v1/namespaces/default/services"


async def test_it_is_given_addresses_and_ports_that_nobody_holds() -> None:
    harness = Harness()
    balanced = service(
        type="LoadBalancer", externalTrafficPolicy="Local", ports=[{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    )
    shown = await harness.json("POST", URL, query="dryRun=All", body=balanced)
    spec = shown["spec"]
    assert spec["clusterIPs"] == [str(RANGE.network_address)]
    assert [port["nodePort"] for port in spec["ports"]] == [32769, 32770]
    assert spec["healthCheckNodePort"] == 32771
    assert await harness.ports.taken() == {}
    assert [item["metadata"]["name"] for item in (await harness.client.list(gvr.IP_ADDRESSES)).items] == []


async def test_what_cannot_be_given_is_refused() -> None:
    harness = Harness()
    taken = await harness.json("POST", URL, body=service("a", type="NodePort"))
    port = taken["spec"]["ports"][0]["nodePort"]
    wanted = service("b", type="NodePort", ports=[{"port": 80, "nodePort": port}])
    refused: Any = await harness.json("POST", URL, query="dryRun=All", body=wanted)
    assert refused["message"].endswith(f"nodePort: Invalid value: {port}: provided port is already allocated")
    outside = await harness.json("POST", URL, query="dryRun=All", body=service("b", clusterIP="192.0.2.1"))
    assert "the provided IP (192.0.2.1) is not in the valid range" in outside["message"]


async def test_addresses_without_the_first_are_refused_before_anything_is_taken() -> None:
    harness = Harness()
    refused = await harness.json("POST", URL, body=service(clusterIPs=["10.96.0.9"]))
    assert (
        'spec.clusterIPs: Invalid value: ["10.96.0.9"]: must be empty when `clusterIP` is not specified'
        in refused["message"]
    )
    odd = await harness.json("POST", URL, body=service(ipFamilies=["IPv5"]))
    assert odd["message"].endswith('spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"')
