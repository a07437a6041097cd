"""Images as files: packing one from local files, and bringing one into containerd.

An image is packed as an OCI image layout in a tar archive (OCI image-spec `image-layout.md`). Packing is deterministic: the same input
gives the same digests on every machine, because owners, times and the order of entries are fixed.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilothouse.main.runtime.pause import ARCHITECTURES, pause_program
from pilothouse.main.runtime.requirements import find_program

PAUSE_IMAGE = "pilothouse.local/pause:1"
"""The sandbox image: made here, never pulled."""

CRI_NAMESPACE = "k8s.io"
"""containerd's namespace of everything that Kubernetes uses."""

_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20
_OCI = "application/vnd.oci.image"


class ImageError(Exception):
    """An image cannot be packed, read or imported; the message says which and why."""


@dataclass(frozen=True, slots=True)
class File:
    """One entry of an image: a file with `content`, a symbolic link to `link`, or a directory if it has neither."""

    content: bytes | None = None
    mode: int = 0o644
    link: str = ""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """How the image's process starts; `user` is `uid`, `uid:gid` or a name."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = "/"
    user: str = ""
    exposed_ports: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def to_object(self) -> dict[str, Any]:
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **self.environment}
        values = {
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.command),
            "Env": [f"{name}={value}" for name, value in environment.items()],
            "WorkingDir": self.working_directory,
            "User": self.user,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Labels": dict(self.labels),
        }
        return {name: value for name, value in values.items() if value}


def normalize(reference: str) -> str:
    """The full name of an image, as the CRI looks it up: `web` is `docker.io/library/web:latest`."""
    name, at, digest = reference.partition("@")
    domain, slash, path = name.partition("/")
    if not slash or not ("." in domain or ":" in domain or domain == "localhost"):
        domain, path = "docker.io", name
    if domain == "docker.io" and "/" not in path:
        path = f"library/{path}"
    if not at and ":" not in path.rpartition("/")[2]:
        path += ":latest"
    return f"{domain}/{path}{at}{digest}"


def pack(
    names: Sequence[str], files: Mapping[str, File], config: ImageConfig, *, architecture: str | None = None
) -> bytes:
    """An OCI archive of one image with one layer, known by each of `names`. Keys of `files` are paths without a leading slash."""
    layer = _layer(files)
    blobs: dict[str, bytes] = {}

    def store(media_type: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    image = {
        "created": "1970-01-01T00:00:00Z",
        "architecture": architecture or local_architecture(),
        "os": "linux",
        "config": config.to_object(),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": store(f"{_OCI}.config.v1+json", _json(image)),
        "layers": [store(f"{_OCI}.layer.v1.tar+gzip", gzip.compress(layer, 6, mtime=0))],
    }
    descriptor = store(f"{_OCI}.manifest.v1+json", _json(manifest))
    index = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.index.v1+json",
        "manifests": [{**descriptor, "annotations": _annotations(normalize(name))} for name in names],
    }
    entries = {
        "oci-layout": File(_json({"imageLayoutVersion": "1.0.0"})),
        "index.json": File(_json(index)),
        **{f"blobs/sha256/{digest}": File(content) for digest, content in blobs.items()},
    }
    return _layer(entries)


def pause_image() -> bytes:
    """The archive of `PAUSE_IMAGE` for this machine."""
    program = File(pause_program(os.uname().machine), 0o755)
    return pack([PAUSE_IMAGE], {"pause": program}, ImageConfig(entrypoint=["/pause"], user="65535:65535"))


def local_architecture() -> str:
    """This machine's architecture as images name it: `amd64`, `arm64`."""
    machine = os.uname().machine
    return ARCHITECTURES.get(machine, machine)


def _annotations(name: str) -> dict[str, str]:
    tag = name.rpartition(":")[2]
    return {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _layer(files: Mapping[str, File]) -> bytes:
    """A tar archive, the directories above each entry included."""
    entries = dict(files)
    for path in files:
        for parent in Path(path).parents:
            if parent.name:
                entries.setdefault(str(parent), File(mode=0o755))
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, file in sorted(entries.items()):
            info = tarfile.TarInfo(path)
            info.mode = file.mode
            if file.link:
                info.type, info.linkname = tarfile.SYMTYPE, file.link
            elif file.content is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(file.content)
            archive.addfile(info, io.BytesIO(file.content or b""))
    return target.getvalue()


@dataclass(frozen=True, slots=True)
class Image:
    """An image as containerd lists it; `size` is in containerd's words (`2.1 MiB`)."""

    name: str
    digest: str
    size: str


class ImageStore:
    """The images of one containerd, through its client program `ctr`."""

    def __init__(self, address: Path, *, snapshotter: str = "overlayfs") -> None:
        self._address = address
        self._snapshotter = snapshotter

    async def load(self, file: Path) -> tuple[str, ...]:
        """Import a `docker save` or OCI archive (also gzipped) and unpack it; the names that it brought. Raises ImageError."""
        if not file.is_file():
            raise ImageError(f"there is no image archive {file}")
        known = {image.name: image.digest for image in await self.list()}
        is_gzipped = _starts_with(file, _GZIP_MAGIC)
        source = "-" if is_gzipped else str(file)
        arguments = ("images", "import", "--snapshotter", self._snapshotter, source)
        output = await self._ctr(*arguments, gzipped_input=file if is_gzipped else None)
        after = {image.name: image.digest for image in await self.list()}
        changed = tuple(name for name, digest in after.items() if known.get(name) != digest)
        return changed or tuple(name for name in after if f"unpacking {name} " in output)

    async def list(self) -> tuple[Image, ...]:
        """All images that have a name (containerd also lists each by its digest alone)."""
        images = []
        for line in (await self._ctr("images", "list")).splitlines()[1:]:
            fields = line.split()
            if len(fields) >= 5 and not fields[0].startswith("sha256:"):
                images.append(Image(fields[0], fields[2], f"{fields[3]} {fields[4]}"))
        return tuple(images)

    async def remove(self, name: str) -> None:
        """Raises ImageError if there is no such image."""
        full = normalize(name)
        if full not in {image.name for image in await self.list()}:
            raise ImageError(f"there is no image {full}")
        await self._ctr("images", "remove", "--sync", full)

    async def _ctr(self, *arguments: str, gzipped_input: Path | None = None) -> str:
        program = find_program("ctr")
        if program is None:
            raise ImageError("the program `ctr` is missing: run `apt-get install containerd`")
        if gzipped_input is None:
            code, output, errors = await self._run(program, arguments, asyncio.subprocess.DEVNULL)
        else:
            reading, writing = os.pipe()
            async with asyncio.TaskGroup() as group:
                feeding = group.create_task(asyncio.to_thread(_unzip, gzipped_input, writing))
                try:
                    code, output, errors = await self._run(program, arguments, reading)
                finally:
                    os.close(reading)
            if fault := feeding.result():
                raise ImageError(f"the image archive {gzipped_input} cannot be unzipped: {fault}")
        if code:
            reason = errors.decode(errors="replace").strip().removeprefix("ctr: ")
            raise ImageError(f"containerd refused `ctr {' '.join(arguments)}`: {reason}")
        return output.decode(errors="replace")

    async def _run(self, program: str, arguments: Sequence[str], source: int) -> tuple[int, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            program,
            *("--address", str(self._address), "--namespace", CRI_NAMESPACE, *arguments),
            stdin=source,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        return process.returncode or 0, output, errors


def _starts_with(file: Path, magic: bytes) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(magic)) == magic


def _unzip(file: Path, target: int) -> str:
    """Unzip a file into a pipe and close it; what is wrong with the file, or nothing. A reader that leaves says itself why."""
    try:
        with gzip.open(file) as source, open(target, "wb") as pipe:
            shutil.copyfileobj(source, pipe, _CHUNK_BYTES)
    except BrokenPipeError:
        return ""
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        return str(error)
    return ""
