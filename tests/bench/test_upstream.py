"""A run beside another server says what it lacks, before it starts anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import upstream
from bench.beside import other_server
from bench.cluster import Unmeasurable
from bench.report import Measurement, beside_line


async def refusal(kubeconfig: str) -> str:
    with pytest.raises(Unmeasurable) as refused:
        async with other_server(kubeconfig):
            pass
    return str(refused.value)


async def test_binaries_must_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBE_APISERVER", raising=False)
    assert "KUBE_APISERVER must name upstream's binary" in await refusal("")
    monkeypatch.setenv("KUBE_APISERVER", "/bin/sh")
    monkeypatch.setenv("ETCD", str(tmp_path / "none"))
    assert (
        f"ETCD must name upstream's binary, or give --beside a kubeconfig; it is '{tmp_path / 'none'}'"
        in await refusal("")
    )


async def test_a_kubeconfig_must_lead_to_a_server_and_prove_who_one_is(tmp_path: Path) -> None:
    path = tmp_path / "config"
    assert "No such file" in await refusal(str(path))
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "x"}}],
    }
    path.write_text(json.dumps(config))
    assert "a user with a client certificate" in await refusal(str(path))


def test_cpu_time_is_found_among_metrics() -> None:
    found = upstream._cpu_of_process(
        b"# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.25e+02\nx 1\n"
    )
    assert found is not None
    assert float(found[1]) == 125


def test_a_row_beside_another_server() -> None:
    row = beside_line(Measurement("verbs.get_pod", 0.05, "9/s"), Measurement("verbs.get_pod", 0.6, "1/s"))
    assert row.split()[-4:] == ["CPU", "12.0x", "9/s;", "1/s"]
    assert "not measured" in beside_line(Measurement("verbs.apply", None, "415"), Measurement("verbs.apply", 1.0))
