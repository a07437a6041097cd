from __future__ import annotations

import os
from pathlib import Path

import pytest

from pilothouse.kubelet.volumes.atomic import UnsafePath, write
from pilothouse.kubelet.volumes.payload import File


def files(**contents: str) -> dict[str, File]:
    return {name.replace("__", "/"): File(text.encode(), 0o644) for name, text in contents.items()}


def test_files_appear_behind_links(tmp_path: Path) -> None:
    assert write(tmp_path, files(a="1", sub__b="2"), None, 0)
    assert (tmp_path / "a").read_text() == "1"
    assert (tmp_path / "sub" / "b").read_text() == "2"
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert os.readlink(tmp_path / "..data").startswith("..1970_01_01_00_00_00.")


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    write(tmp_path, files(a="1"), None, 0)
    before = os.readlink(tmp_path / "..data")
    assert not write(tmp_path, files(a="1"), None, 9)
    assert os.readlink(tmp_path / "..data") == before


def test_an_update_turns_all_files_over_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write(tmp_path, files(a="1", gone="x"), None, 0)
    assert write(tmp_path, files(a="2", new="y"), None, 1)
    assert (tmp_path / "a").read_text() == "2"
    assert not (tmp_path / "gone").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "new", "..data", os.readlink(tmp_path / "..data")}


def test_a_reader_with_an_open_file_keeps_the_old_content(tmp_path: Path) -> None:
    write(tmp_path, files(a="1"), None, 0)
    with (tmp_path / "a").open() as reader:
        write(tmp_path, files(a="2"), None, 1)
        assert reader.read() == "1"


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "..data", "..x/y", ""])
def test_no_path_leads_out(tmp_path: Path, path: str) -> None:
    with pytest.raises(UnsafePath):
        write(tmp_path / "volume", {path: File(b"", 0o644)}, None, 0)


def test_modes(tmp_path: Path) -> None:
    write(tmp_path, {"a": File(b"x", 0o400)}, None, 0)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o400


@pytest.mark.skipif(os.geteuid() != 0, reason="changing owners needs root")
def test_a_group_may_read(tmp_path: Path) -> None:
    write(tmp_path, {"a": File(b"x", 0o600, uid=1000)}, 2000, 0)
    info = (tmp_path / "a").stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (1000, 2000, 0o640)
