from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pilothouse.cli import kubeconfig

OURS = {
    "clusters": [{"name": "pilothouse", "cluster": {"server": "https://127.0.0.1:6443"}}],
    "contexts": [{"name": "pilothouse", "context": {"cluster": "pilothouse", "user": "pilothouse-admin"}}],
    "users": [{"name": "pilothouse-admin", "user": {"client-key-data": "a2V5"}}],
    "current-context": "pilothouse",
}
THEIRS = {
    "apiVersion": "v1",
    "kind": "Config",
    "preferences": {"colors": True},
    "clusters": [{"name": "prod", "cluster": {"server": "https://prod"}}],
    "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "me", "namespace": "web"}}],
    "users": [{"name": "me", "user": {"exec": {"command": "login"}}}],
    "current-context": "prod",
    "extensions": [{"name": "x", "extension": {}}],
}


def test_a_new_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config"
    kubeconfig.add(path, OURS)
    assert path.stat().st_mode & 0o777 == 0o600
    assert yaml.safe_load(path.read_text())["current-context"] == "pilothouse"


def test_what_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(THEIRS))
    kubeconfig.add(path, OURS)
    content = yaml.safe_load(path.read_text())
    for section in kubeconfig.SECTIONS:
        assert content[section][0] == THEIRS[section][0]  # type: ignore[index]
    assert content["preferences"] == {"colors": True}
    assert content["extensions"] == THEIRS["extensions"]
    kubeconfig.remove(path, OURS)
    assert yaml.safe_load(path.read_text()) == {**THEIRS, "current-context": ""}


def test_adding_twice_is_adding_once() -> None:
    once = kubeconfig.merged(THEIRS, OURS)
    assert kubeconfig.merged(once, OURS) == once


@pytest.mark.parametrize("text", ["{unbalanced", "- a list", "just text", "clusters: 5"])
def test_a_file_that_is_no_kubeconfig_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(kubeconfig.KubeconfigUnusable, match="left alone"):
        kubeconfig.add(path, OURS)
    assert path.read_text() == text


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("")
    kubeconfig.add(path, OURS)
    assert len(yaml.safe_load(path.read_text())["users"]) == 1


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "config"
    real.write_text(yaml.safe_dump(THEIRS))
    link.symlink_to(real)
    kubeconfig.add(link, OURS)
    assert link.is_symlink()
    assert yaml.safe_load(real.read_text())["current-context"] == "pilothouse"


def test_another_cluster_of_the_same_name_stays() -> None:
    """One made in another directory since, which took the entries over."""

    def of(authority: str) -> dict[str, object]:
        cluster = {"server": "https://127.0.0.1:6443", "certificate-authority-data": authority}
        return {**OURS, "clusters": [{"name": "pilothouse", "cluster": cluster}]}

    there = kubeconfig.merged(THEIRS, of("bmV3"))
    assert kubeconfig.removed(there, of("b2xk")) == there
    assert kubeconfig.removed(there, of("bmV3")) == {**THEIRS, "current-context": ""}
