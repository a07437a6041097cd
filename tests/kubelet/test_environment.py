from __future__ import annotations

import pytest

from pilothouse.api.views.pod import PodView
from pilothouse.kubelet.environment import expand, service_links
from pilothouse.kubelet.field_values import UnknownField, field_value, resource_value


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("$(A)", "1"),
        ("$(A)-$(B)", "1-2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(MISSING)", "$(MISSING)"),
        ("$(A", "$(A"),
        ("$", "$"),
        ("$A", "$A"),
        ("a$", "a$"),
        ("$()", "$()"),
    ],
)
def test_expansion(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


def _service(namespace: str, name: str, ip: str, *ports: dict[str, object]) -> dict[str, object]:
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"clusterIP": ip, "ports": list(ports)}}


def test_services_are_announced() -> None:
    services = [
        _service("default", "kubernetes", "10.96.0.1", {"port": 443, "name": "https", "protocol": "TCP"}),
        _service("shop", "my-db", "10.96.0.5", {"port": 53, "protocol": "UDP"}),
        _service("shop", "headless", "None", {"port": 1}),
        _service("other", "web", "10.96.0.6", {"port": 80}),
    ]
    links = service_links(services, "shop", True)
    assert links["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert links["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert links["MY_DB_PORT"] == "udp://10.96.0.5:53"
    assert links["MY_DB_PORT_53_UDP_ADDR"] == "10.96.0.5"
    assert not any(name.startswith(("WEB", "HEADLESS")) for name in links)
    assert not any(name.startswith("MY_DB") for name in service_links(services, "shop", False))


POD = PodView(
    {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "labels": {"b": 'say "x"', "a": "1"}},
        "spec": {"nodeName": "n1", "serviceAccountName": "default"},
    }
)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"),
        ("metadata.labels['a']", "1"),
        ("metadata.annotations['none']", ""),
        ("metadata.labels", 'a="1"\nb="say \\"x\\""'),
        ("status.podIPs", "10.244.0.5,fd00::5"),
        ("status.hostIP", "192.0.2.1"),
        ("spec.nodeName", "n1"),
    ],
)
def test_fields(path: str, value: str) -> None:
    assert field_value(POD, path, ("10.244.0.5", "fd00::5"), ("192.0.2.1",)) == value


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(UnknownField):
        field_value(POD, "spec.containers")


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("requests.cpu", "", "1"),
        ("requests.cpu", "1m", "250"),
        ("limits.cpu", "", "4"),
        ("requests.memory", "1Mi", "64"),
        ("requests.memory", "", str(64 << 20)),
        ("limits.memory", "1Gi", "8"),
        ("requests.ephemeral-storage", "", "0"),
    ],
)
def test_resources(resource: str, divisor: str, value: str) -> None:
    container = {"resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}
    reference = {"resource": resource, **({"divisor": divisor} if divisor else {})}
    assert resource_value(reference, container, {"cpu": "4", "memory": "8Gi"}) == value
