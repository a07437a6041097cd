"""Question and answer, by the DNS specification's cases."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.dns.records import NO_SUCH_NAME, NO_SUCH_RECORD, Answer, Record, Records


def service(name: str, ip: str = "10.96.0.20", **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    return {"metadata": {"namespace": "default", "name": name}, "spec": {"clusterIP": ip, "ports": ports, **spec}}


def slice_of(service: str, *endpoints: dict[str, Any], ports: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "default", "name": f"{service}-1", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}] if ports is None else ports,
        "endpoints": list(endpoints),
    }


DB_0 = {"addresses": ["10.244.0.7"], "hostname": "db-0", "conditions": {"ready": True}}
UNNAMED = {"addresses": ["10.244.1.8"]}
UNREADY = {"addresses": ["10.244.1.9"], "hostname": "db-9", "conditions": {"ready": False}}


@pytest.fixture
def records() -> Records:
    records = Records()
    records.on_service(None, service("web"))
    records.on_service(
        None, service("dual", "10.96.0.21", clusterIPs=["10.96.0.21", "fd00::21"], ports=[{"port": 443}])
    )
    records.on_service(None, service("db", "None", clusterIPs=["None"]))
    records.on_service(None, service("silent", "None"))
    records.on_service(None, service("portless", "None", ports=[]))
    records.on_service(None, service("far", "", type="ExternalName", externalName="Example.org.", ports=[]))
    records.on_service(None, service("far-address", "", type="ExternalName", externalName="192.0.2.1", ports=[]))
    records.on_slice(None, slice_of("web", {"addresses": ["10.244.0.5"]}))
    records.on_slice(None, slice_of("db", DB_0, UNNAMED, UNREADY))
    records.on_slice(None, slice_of("silent", UNREADY))
    records.on_slice(None, slice_of("portless", DB_0, ports=[]))
    return records


WEB = "web.default.svc.cluster.local"
DB = "db.default.svc.cluster.local"


def answers(*records: Record, additional: tuple[Record, ...] = (), alias: str = "") -> Answer:
    return Answer(records, additional, alias=alias)


@pytest.mark.parametrize(
    ("name", "type", "expected"),
    [
        ("dns-version.cluster.local", "TXT", answers(Record("TXT", "1.1.0"))),
        ("dns-version.cluster.local", "A", NO_SUCH_RECORD),
        (WEB, "A", answers(Record("A", "10.96.0.20"))),
        (WEB, "AAAA", NO_SUCH_RECORD),
        (WEB, "MX", NO_SUCH_RECORD),
        ("dual.default.svc.cluster.local", "AAAA", answers(Record("AAAA", "fd00::21"))),
        ("dual.default.svc.cluster.local", "A", answers(Record("A", "10.96.0.21"))),
        ("absent.default.svc.cluster.local", "A", NO_SUCH_NAME),
        ("web.absent.svc.cluster.local", "A", NO_SUCH_NAME),
        ("default.svc.cluster.local", "A", NO_SUCH_RECORD),
        ("absent.svc.cluster.local", "A", NO_SUCH_NAME),
        ("svc.cluster.local", "A", NO_SUCH_RECORD),
        ("cluster.local", "A", NO_SUCH_RECORD),
        ("cluster.local", "NS", answers(Record("NS", "ns.dns.cluster.local"))),
        ("web.default.svc.cluster.local.cluster.local", "A", NO_SUCH_NAME),
        ("a.b.c.d.e.cluster.local", "A", NO_SUCH_NAME),
        (
            f"_http._tcp.{WEB}",
            "SRV",
            answers(Record("SRV", f"0 100 80 {WEB}"), additional=(Record("A", "10.96.0.20", WEB),)),
        ),
        (
            f"_dns._udp.{WEB}",
            "SRV",
            answers(Record("SRV", f"0 100 53 {WEB}"), additional=(Record("A", "10.96.0.20", WEB),)),
        ),
        (f"_dns._tcp.{WEB}", "SRV", NO_SUCH_NAME),
        (f"_http._tcp.{WEB}", "A", answers(Record("A", "10.96.0.20"))),
        (f"10-244-0-5.{WEB}", "A", answers(Record("A", "10.244.0.5"))),
        (DB, "A", answers(Record("A", "10.244.0.7"), Record("A", "10.244.1.8"))),
        (DB, "AAAA", NO_SUCH_RECORD),
        (f"db-0.{DB}", "A", answers(Record("A", "10.244.0.7"))),
        (f"10-244-1-8.{DB}", "A", answers(Record("A", "10.244.1.8"))),
        (f"db-9.{DB}", "A", NO_SUCH_NAME),
        (
            f"_http._tcp.{DB}",
            "SRV",
            answers(
                Record("SRV", f"0 50 8080 db-0.{DB}"),
                Record("SRV", f"0 50 8080 10-244-1-8.{DB}"),
                additional=(Record("A", "10.244.0.7", f"db-0.{DB}"), Record("A", "10.244.1.8", f"10-244-1-8.{DB}")),
            ),
        ),
        ("silent.default.svc.cluster.local", "A", NO_SUCH_NAME),
        ("portless.default.svc.cluster.local", "A", answers(Record("A", "10.244.0.7"))),
        ("far.default.svc.cluster.local", "A", answers(Record("CNAME", "example.org"), alias="example.org")),
        ("far-address.default.svc.cluster.local", "A", answers(Record("A", "192.0.2.1"))),
        ("10-244-0-7.default.pod.cluster.local", "A", answers(Record("A", "10.244.0.7"))),
        ("10-244-0-7.default.pod.cluster.local", "AAAA", NO_SUCH_RECORD),
        ("fd00--7.default.pod.cluster.local", "AAAA", answers(Record("AAAA", "fd00::7"))),
        ("10-244-0.default.pod.cluster.local", "A", NO_SUCH_NAME),
        ("10-244-0-700.default.pod.cluster.local", "A", NO_SUCH_NAME),
        ("20.0.96.10.in-addr.arpa", "PTR", answers(Record("PTR", WEB))),
        ("20.0.96.10.in-addr.arpa", "A", NO_SUCH_RECORD),
        (
            "7.0.244.10.in-addr.arpa",
            "PTR",
            answers(Record("PTR", f"db-0.{DB}"), Record("PTR", "db-0.portless.default.svc.cluster.local")),
        ),
        ("1.2.0.192.in-addr.arpa", "PTR", None),
        ("nonsense.in-addr.arpa", "PTR", None),
        ("example.org", "A", None),
        ("notcluster.local", "A", None),
    ],
)
def test_answers(records: Records, name: str, type: str, expected: Answer | None) -> None:
    assert records.answer(name, type) == expected


def test_the_reverse_of_an_ipv6_address(records: Records) -> None:
    digits = "fd000000000000000000000000000021"
    name = ".".join(digits[::-1]) + ".ip6.arpa"
    assert records.answer(name, "PTR") == answers(Record("PTR", "dual.default.svc.cluster.local"))


def test_changes_and_removals_are_followed(records: Records) -> None:
    version = records.version
    records.on_service(service("web"), service("web", "10.96.0.30"))
    assert records.answer(WEB, "A") == answers(Record("A", "10.96.0.30"))
    assert records.answer("20.0.96.10.in-addr.arpa", "PTR") is None
    records.on_slice(slice_of("db", DB_0, UNNAMED, UNREADY), slice_of("db", UNREADY))
    assert records.answer(DB, "A") == NO_SUCH_NAME
    records.on_service(service("web", "10.96.0.30"), None)
    assert records.answer(WEB, "A") == NO_SUCH_NAME
    assert records.version == version + 3


def test_what_alters_no_answer_leaves_the_version(records: Records) -> None:
    version = records.version
    records.on_service(service("web"), service("web") | {"status": {"loadBalancer": {}}})
    records.on_slice(slice_of("db", DB_0, UNNAMED, UNREADY), slice_of("db", DB_0, UNNAMED, UNREADY))
    assert records.version == version
