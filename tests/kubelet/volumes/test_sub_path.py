from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilothouse.kit.mounts import unmount_below
from pilothouse.kubelet.seams import NotMounted
from pilothouse.kubelet.volumes.sub_path import bind

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")]


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "volume"
    directory.mkdir()
    yield directory
    unmount_below([tmp_path])


def test_a_directory_is_made_and_shared(volume: Path, tmp_path: Path) -> None:
    target = bind(volume, "a/b", tmp_path / "target" / "0")
    (target / "file").write_text("x")
    assert (volume / "a" / "b" / "file").read_text() == "x"
    assert bind(volume, "a/b", target) == target


def test_a_file_is_mounted_as_a_file(volume: Path, tmp_path: Path) -> None:
    (volume / "file").write_text("x")
    assert bind(volume, "file", tmp_path / "target").read_text() == "x"


def test_links_inside_the_volume_are_followed(volume: Path, tmp_path: Path) -> None:
    (volume / "..1").mkdir()
    (volume / "..1" / "key").write_text("v")
    (volume / "..data").symlink_to("..1")
    (volume / "key").symlink_to("..data/key")
    assert bind(volume, "key", tmp_path / "target").read_text() == "v"


@pytest.mark.parametrize("link", ["/etc", "../outside", "../../../../etc"])
def test_links_do_not_lead_out(volume: Path, tmp_path: Path, link: str) -> None:
    (tmp_path / "outside").mkdir()
    (volume / "out").symlink_to(link)
    with pytest.raises(NotMounted, match="out of its volume"):
        bind(volume, "out/x", tmp_path / "target")


@pytest.mark.parametrize("path", ["../x", "/etc", "a/../../x"])
def test_paths_do_not_lead_out(volume: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(NotMounted):
        bind(volume, path, tmp_path / "target")
