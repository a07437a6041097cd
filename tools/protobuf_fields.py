"""Writes `pilothouse/api/codec/protobuf_fields.txt`: the field numbers of the API's messages, which no package for Python has.

    python tools/protobuf_fields.py KUBERNETES_CHECKOUT

reads the `generated.proto` files of an upstream checkout. The file changes only when the API does. A line is a message and its
fields: `core.v1.Volume name=1:s volumeSource=2:core.v1.VolumeSource!`. Kinds are `s` string, `b` bytes, `i` integer, `t` boolean,
`d` double, or a message; `*` before one means repeated, `{` a map from strings, `!` after one that its fields belong to the outer
object in JSON.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = (
    "api/*/v[12]/generated.proto",
    "apimachinery/pkg/apis/meta/v1/generated.proto",
)
LEFT_OUT = ("api/admission/", "api/apidiscovery/", "api/imagepolicy/")
SCALARS = {"string": "s", "bytes": "b", "int32": "i", "int64": "i", "uint32": "i", "bool": "t", "double": "d"}
FIELD = re.compile(r"^\s*(optional|repeated|map<string, ([\w.]+)>) ?([\w.]*) (\w+) = (\d+);")
PACKAGE = re.compile(r"^package ([\w.]+);", re.M)
MESSAGE = re.compile(r"^message (\w+) \{(.*?)^\}", re.M | re.S)


def short(package: str, name: str) -> str:
    """`core.v1.Pod` for a message of `k8s.io.api.core.v1`; `Quantity`, `IntOrString` for those that belong to no version."""
    parts = package.split(".")
    return f"{'.'.join(parts[-2:])}.{name}" if re.fullmatch(r"v\d+", parts[-1]) else name


def kind_of(text: str, package: str) -> str:
    if text in SCALARS:
        return SCALARS[text]
    prefix, _, name = text.lstrip(".").rpartition(".")
    return short(prefix, name) if prefix else short(package, name)


def json_fields() -> dict[str, set[str]]:
    """The fields that each message has in JSON, by its short name."""
    definitions = json.loads((ROOT / "pilothouse/api/schema/data/structure.json").read_text())["definitions"]
    return {".".join(name.split(".")[-3:]): set(found.get("fields", ())) for name, found in definitions.items()}


def main() -> None:
    staging = Path(sys.argv[1]) / "staging/src/k8s.io"
    in_json = json_fields()
    lines = []
    for pattern in SOURCES:
        for path in sorted(staging.glob(pattern)):
            if any(part in str(path) for part in LEFT_OUT):
                continue
            text = path.read_text()
            package = PACKAGE.search(text)[1]  # type: ignore[index]
            for name, body in MESSAGE.findall(text):
                message = short(package, name)
                fields = []
                for line in body.splitlines():
                    match = FIELD.match(line)
                    if match is None:
                        continue
                    label, value, type_, field, number = match.groups()
                    kind = kind_of(value or type_, package)
                    mark = "{" if value else "*" if label == "repeated" else ""
                    known = in_json.get(message)
                    inline = "!" if known and field not in known and kind not in SCALARS.values() and not mark else ""
                    fields.append(f"{field}={number}:{mark}{kind}{inline}")
                lines.append(" ".join((message, *fields)))
    target = ROOT / "pilothouse/api/codec/protobuf_fields.txt"
    target.write_text("\n".join(sorted(lines)) + "\n")


if __name__ == "__main__":
    main()
