"""Writes `pilothouse/api/codec/protobuf_fields.txt`: the field numbers of the API's messages, which no package for Python has.

    git clone --depth 1 --branch v1.36.0 https://github.com/kubernetes/kubernetes
    python tools/protobuf_fields.py kubernetes

It reads two things of the checkout's packages: `generated.proto` for the types and numbers of fields, and the Go types' tags for what
a field is called in JSON, whether it is a pointer, and whether its own fields belong to the outer object. The file changes only when
the API does.

A line is a message and its fields: `core.v1.Volume name=1:s volumeSource=2:core.v1.VolumeSource!`. Kinds are `s` string, `b` bytes,
`i` integer, `t` boolean, `d` double, or a message; `*` before one means repeated, `{` a map from strings; after one, `?` means that
the field may be absent (otherwise its empty value is written), and `!` that its fields belong to the outer object in JSON.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SOURCES = (
    "api/*/v[12]",
    "apiextensions-apiserver/pkg/apis/apiextensions/v1",
    "kube-aggregator/pkg/apis/apiregistration/v1",
    "apimachinery/pkg/apis/meta/v1",
    "apimachinery/pkg/apis/meta/v1beta1",
)
LEFT_OUT = {"admission", "imagepolicy"}
SCALARS = {"string": "s", "bytes": "b", "int32": "i", "int64": "i", "uint32": "i", "bool": "t", "double": "d"}
FIELD = re.compile(r"^\s*(optional|repeated|map<string, ([\w.]+)>) ?([\w.]*) (\w+) = (\d+);")
PACKAGE = re.compile(r"^package ([\w.]+);", re.M)
MESSAGE = re.compile(r"^message (\w+) \{(.*?)^\}", re.M | re.S)
GO_STRUCT = re.compile(r"^type (\w+) struct \{(.*?)^\}", re.M | re.S)
GO_FIELD = re.compile(r'^\s*(?:\w+\s+)?([*\w.\[\]]+)\s+`.*json:"([^"]*)".*protobuf:"\w+,(\d+),')


class GoField(NamedTuple):
    json_name: str
    """Empty for a field whose own fields belong to the outer object."""
    is_pointer: bool


def short(package: str, name: str) -> str:
    """`core.v1.Pod` for a message of `k8s.io.api.core.v1`; `Quantity`, `IntOrString` for those that belong to no version."""
    parts = package.split(".")
    return f"{'.'.join(parts[-2:])}.{name}" if re.fullmatch(r"v\d+(beta\d+)?", parts[-1]) else name


def kind_of(text: str, package: str) -> str:
    if text in SCALARS:
        return SCALARS[text]
    prefix, _, name = text.lstrip(".").rpartition(".")
    return short(prefix, name) if prefix else short(package, name)


def go_fields(folder: Path) -> dict[tuple[str, int], GoField]:
    """The fields of a package's Go types, by type and field number."""
    found = {}
    for path in folder.glob("*.go"):
        if path.name.startswith(("generated", "zz_")) or path.name.endswith("_test.go"):
            continue
        for name, body in GO_STRUCT.findall(path.read_text()):
            for line in body.splitlines():
                if match := GO_FIELD.match(line):
                    type_, tag, number = match.groups()
                    found[name, int(number)] = GoField(tag.partition(",")[0], type_.startswith("*"))
    return found


def messages(folder: Path) -> Iterator[str]:
    """The lines of a package."""
    text = (folder / "generated.proto").read_text()
    package = PACKAGE.search(text)[1]  # type: ignore[index]
    in_go = go_fields(folder)
    for name, body in MESSAGE.findall(text):
        fields = [found for line in body.splitlines() if (found := field(line, name, package, in_go))]
        yield " ".join((short(package, name), *fields))


def field(line: str, message: str, package: str, in_go: Mapping[tuple[str, int], GoField]) -> str:
    """A field's text; empty for a line that declares none."""
    match = FIELD.match(line)
    if match is None:
        return ""
    label, value, type_, name, number = match.groups()
    kind = kind_of(value or type_, package)
    go = in_go.get((message, int(number)), GoField(name, is_pointer=False))
    before = "{" if value else "*" if label == "repeated" else ""
    after = "" if before else ("?" if go.is_pointer else "") + ("" if go.json_name else "!")
    return f"{go.json_name or name}={number}:{before}{kind}{after}"


def main() -> None:
    staging = Path(sys.argv[1]) / "staging/src/k8s.io"
    folders = [folder for pattern in SOURCES for folder in staging.glob(pattern) if not LEFT_OUT & set(folder.parts)]
    lines = {line for folder in folders if (folder / "generated.proto").exists() for line in messages(folder)}
    target = ROOT / "pilothouse/api/codec/protobuf_fields.txt"
    target.write_text("\n".join(sorted(lines)) + "\n")


if __name__ == "__main__":
    main()
