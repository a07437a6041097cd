from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.main import cluster, credentials, settings
from pilothouse.main.failure import Fatal
from pilothouse.main.paths import Paths, paths_for
from pilothouse.main.settings import Settings
from pilothouse.main.up import _wanted_settings


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = paths_for(tmp_path)
    made.make()
    return made


def test_settings_come_back(paths: Paths) -> None:
    assert settings.load(paths) is None
    kept = Settings("n", "192.0.2.1", secure_port=7443)
    settings.save(paths, kept)
    assert settings.load(paths) == kept


@pytest.mark.parametrize("text", ["{", "[]", '{"node_name": "n"}', '{"node_name": "n", "node_ip": "x", "unknown": 1}'])
def test_damaged_settings_are_named(paths: Paths, text: str) -> None:
    paths.settings.write_text(text)
    with pytest.raises(Fatal, match=r"cluster\.json is damaged"):
        settings.load(paths)


def test_addresses_follow_the_service_range() -> None:
    wanted = Settings("n", "192.0.2.1", service_cidr="10.43.0.0/16")
    assert (wanted.kubernetes_ip, wanted.dns_ip) == ("10.43.0.1", "10.43.0.10")


def test_a_chosen_address_stays_and_a_found_one_is_found_anew(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "node_address", lambda: "198.51.100.1")
    settings.save(paths, _wanted_settings(paths, {}))
    monkeypatch.setattr(cluster, "node_address", lambda: "198.51.100.2")
    assert _wanted_settings(paths, {}).node_ip == "198.51.100.2"
    settings.save(paths, _wanted_settings(paths, {"node_ip": "203.0.113.9"}))
    assert _wanted_settings(paths, {}).node_ip == "203.0.113.9"


def test_a_real_cluster_does_not_become_a_simulated_one(paths: Paths) -> None:
    settings.save(paths, Settings("n", "192.0.2.1"))
    with pytest.raises(Fatal, match="reset"):
        _wanted_settings(paths, {"simulated": 3})


def test_every_node_has_its_own_identity() -> None:
    names = {item.name for item in credentials.items(Settings("n", "127.0.0.1", simulated=2))}
    assert {"node-simulated-0", "node-simulated-1", "node-simulated-0-server"} <= names
    server = next(item for item in credentials.items(Settings("n", "192.0.2.7")) if item.name == "apiserver")
    assert {"192.0.2.7", "10.96.0.1", "127.0.0.1"} <= set(server.ip_addresses)  # type: ignore[union-attr]


def test_processes_are_commands_of_this_interpreter(paths: Paths) -> None:
    specs = cluster.processes(Settings("n", "192.0.2.1"), paths, None)
    assert [spec.name for spec in specs] == ["apiserver", "control", "node"]
    assert f"--database={paths.database}" in specs[0].argv


def test_a_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Fatal, match=f"port {port}, for the API server, is in use"):
            cluster.check_ports(Settings("n", "127.0.0.1", simulated=1, secure_port=port))


@pytest.mark.parametrize(
    ("status", "heartbeat", "ready"),
    [
        ("True", "2026-01-01T00:00:10Z", True),
        ("True", "2025-12-31T23:59:00Z", False),
        ("False", "2026-01-01T00:00:10Z", False),
    ],
)
def test_a_node_is_ready_if_its_kubelet_says_so_now(status: str, heartbeat: str, ready: bool) -> None:
    node = {"status": {"conditions": [{"type": "Ready", "status": status, "lastHeartbeatTime": heartbeat}]}}
    assert cluster.is_node_ready(node, 1767225600.0) is ready
    assert not cluster.is_node_ready({"status": {}}, 0.0)
