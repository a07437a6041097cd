"""Services: what an update keeps and what it gives up."""

from __future__ import annotations

import pytest

from pilothouse.api.kinds.core.service import SERVICE
from pilothouse.api.meta import Object


def updated(new: Object, old: Object) -> Object:
    draft: Object = {"metadata": {"name": "a"}, "spec": new, "status": {}}
    SERVICE.prepare_update(draft, {"metadata": {"name": "a"}, "spec": old})
    spec: Object = draft["spec"]
    return spec


def test_what_the_server_chose_stays() -> None:
    old = {
        "type": "NodePort",
        "clusterIP": "10.96.0.5",
        "clusterIPs": ["10.96.0.5"],
        "ports": [{"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30002}],
    }
    new: Object = {
        "type": "NodePort",
        "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 82, "nodePort": 30001}],
    }
    spec = updated(new, old)
    assert (spec["clusterIP"], spec["clusterIPs"]) == ("10.96.0.5", ["10.96.0.5"])
    assert "nodePort" not in spec["ports"][0]
    assert spec["ports"][1]["nodePort"] == 30001


def test_what_the_new_type_does_not_need_goes() -> None:
    ports = [{"port": 80, "nodePort": 30001}]
    old = {
        "type": "NodePort",
        "clusterIP": "10.96.0.5",
        "clusterIPs": ["10.96.0.5"],
        "externalTrafficPolicy": "Cluster",
    }
    spec = updated({**old, "type": "ClusterIP", "ports": [dict(ports[0])]}, {**old, "ports": ports})
    assert spec["ports"] == [{"port": 80}]
    assert "externalTrafficPolicy" not in spec
    spec = updated({**old, "type": "ExternalName", "externalName": "x"}, old)
    assert "clusterIP" not in spec
    assert "clusterIPs" not in spec


def test_a_changed_address_is_left_for_validation_to_refuse() -> None:
    old = {"type": "ClusterIP", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"]}
    spec = updated({**old, "type": "ExternalName", "clusterIP": "10.96.0.6"}, old)
    assert spec["clusterIP"] == "10.96.0.6"


@pytest.mark.parametrize(
    ("spec", "status", "shown"),
    [
        ({"type": "ClusterIP"}, {}, "<none>"),
        ({"type": "LoadBalancer"}, {}, "<pending>"),
        ({"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]}, {"ingress": [{"ip": "2.2.2.2"}, {"hostname": "a"}]}, "2.2.2.2,a,9.9.9.9"),
        ({"type": "ExternalName", "externalName": "db.example"}, {}, "db.example"),
    ],
)  # fmt: skip
def test_external_addresses(spec: Object, status: Object, shown: str) -> None:
    column = next(column for column in SERVICE.columns if column.name == "External-IP")
    assert column.cell({"spec": spec, "status": {"loadBalancer": status}}, 0) == shown


def test_ports() -> None:
    column = next(column for column in SERVICE.columns if column.name == "Port(s)")
    ports = [{"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]
    assert column.cell({"spec": {"ports": ports}}, 0) == "80:30080/TCP,53/UDP"
