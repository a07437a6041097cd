"""Kubeconfig files: what cannot be used is refused with the file's name and the reason."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from pilothouse.client import kubeconfig


def write(directory: Path, **user: Any) -> Path:
    path = directory / "config"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "apps"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443", "certificate-authority": "ca.crt"}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (": [", "not YAML"),
        ("kind: Pod", "kind Config is expected"),
        ("kind: Config", "no current-context"),
        ("kind: Config\ncurrent-context: x", 'no context named "x"'),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(kubeconfig.KubeconfigError, match=message):
        kubeconfig.endpoint(tmp_path / "config")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(kubeconfig.KubeconfigError, match="absent: No such file"):
        kubeconfig.endpoint(tmp_path / "absent")


@pytest.mark.parametrize("field", ["exec", "auth-provider", "username"])
def test_what_is_not_supported_is_refused_by_name(tmp_path: Path, field: str) -> None:
    path = write(tmp_path, **{field: "x"})
    with pytest.raises(kubeconfig.KubeconfigError, match=f"{field} is not supported"):
        kubeconfig.endpoint(path)


def test_inline_data_wins_over_files_and_must_be_base64(tmp_path: Path) -> None:
    data = base64.b64encode(b"PEM").decode()
    found = kubeconfig.endpoint(write(tmp_path, **{"client-certificate-data": data, "client-certificate": "x.crt"}))
    assert found.certificate == b"PEM"
    with pytest.raises(kubeconfig.KubeconfigError, match="client-key-data is not base64"):
        kubeconfig.endpoint(write(tmp_path, **{"client-key-data": "*"}))


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, token="secret", **{"client-key": "keys/u.key", "as": "jane"})
    found = kubeconfig.endpoint(path)
    assert found.ca == tmp_path / "ca.crt"
    assert found.key == tmp_path / "keys/u.key"
    assert found.token == "secret"
    assert found.headers == {"impersonate-user": "jane"}
    assert kubeconfig.namespace(path) == "apps"
