"""Packing images: names, digests, and that equal input gives equal bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

import pytest

from pilothouse.main.runtime.images import File, ImageConfig, normalize, pack, pause_image


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("web", "docker.io/library/web:latest"),
        ("web:1", "docker.io/library/web:1"),
        ("team/web:1", "docker.io/team/web:1"),
        ("localhost/web", "localhost/web:latest"),
        ("localhost:5000/web", "localhost:5000/web:latest"),
        ("registry.example/a/b:2", "registry.example/a/b:2"),
        ("web@sha256:abc", "docker.io/library/web@sha256:abc"),
    ],
)
def test_names_are_completed_as_the_runtime_looks_them_up(reference: str, full: str) -> None:
    assert normalize(reference) == full


def read(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {info.name: (tar.extractfile(info) or io.BytesIO()).read() for info in tar if info.isfile()}


def test_every_blob_has_its_digest_and_the_layer_holds_the_files() -> None:
    files = {"a/b/run": File(b"#!", 0o755), "a/link": File(link="b/run"), "tmp": File(mode=0o1777)}
    entries = read(pack(["x:1", "y:2"], files, ImageConfig(entrypoint=["/a/b/run"])))
    for path, content in entries.items():
        if path.startswith("blobs/sha256/"):
            assert path.removeprefix("blobs/sha256/") == hashlib.sha256(content).hexdigest()
    index = json.loads(entries["index.json"])
    names = [manifest["annotations"]["io.containerd.image.name"] for manifest in index["manifests"]]
    assert names == ["docker.io/library/x:1", "docker.io/library/y:2"]

    def blob(descriptor: dict[str, str]) -> bytes:
        return entries[descriptor["digest"].replace("sha256:", "blobs/sha256/")]

    manifest = json.loads(blob(index["manifests"][0]))
    layer = gzip.decompress(blob(manifest["layers"][0]))
    config = json.loads(blob(manifest["config"]))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    assert config["config"]["Entrypoint"] == ["/a/b/run"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert {info.name: oct(info.mode) for info in tar if not info.issym()} == {
            "a": "0o755",
            "a/b": "0o755",
            "a/b/run": "0o755",
            "tmp": "0o1777",
        }


def test_equal_input_gives_equal_bytes() -> None:
    assert pause_image() == pause_image()
    one = pack(["x"], {"a": File(b"1"), "b": File(b"2")}, ImageConfig())
    assert one == pack(["x"], {"b": File(b"2"), "a": File(b"1")}, ImageConfig())
