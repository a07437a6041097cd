"""Which message a kind is, and what its fields are called and numbered.

The table is `protobuf_fields.txt`, which `tools/protobuf_fields.py` writes and describes. It is read when a client first speaks
protobuf, and a line is taken apart when its message is first met.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from pilothouse.api.codec.errors import UnknownMessage


class Field(NamedTuple):
    name: str
    """In JSON."""
    number: int
    kind: str
    """`s` string, `b` bytes, `i` integer, `t` boolean, `d` double, or the name of a message."""
    mark: str
    """`*` repeated, `{` map from strings, `!` merged into the outer object, or empty."""
    is_optional: bool
    """Whether it may be absent; if not, its empty value stands for none in JSON."""


_PACKAGES = {
    "": "core",
    "rbac.authorization.k8s.io": "rbac",
    "flowcontrol.apiserver.k8s.io": "flowcontrol",
}
"""Of the groups that are called neither like their package nor like it with `.k8s.io`."""


def message_name(api_version: str, kind: str) -> str:
    """The message of a kind, such as `core.v1.Pod`. Raises UnknownMessage."""
    group, _, version = api_version.rpartition("/")
    name = f"{_PACKAGES.get(group) or group.removesuffix('.k8s.io')}.{version}.{kind}"
    if name in _lines():
        return name
    # Options such as DeleteOptions may be sent under any group; some types are the same in all versions.
    name = f"meta.v1.{kind}"
    if name not in _lines() or not (group in ("", "meta.k8s.io") or kind.endswith("Options")):
        raise UnknownMessage(f'no kind "{kind}" is known for version "{api_version}"')
    return name


@cache
def fields_of(name: str) -> tuple[Field, ...]:
    """The fields of a message by number. Raises UnknownMessage."""
    try:
        line = _lines()[name]
    except KeyError:
        raise UnknownMessage(f"messages of type {name} cannot be read") from None
    found = []
    for part in line.split():
        field, _, description = part.partition("=")
        number, _, kind = description.partition(":")
        mark = kind[0] if kind[0] in "*{" else "!" if kind.endswith("!") else ""
        found.append(Field(field, int(number), kind.strip("*{!?"), mark, "?" in kind))
    return tuple(sorted(found, key=lambda field: field.number))


@cache
def _lines() -> Mapping[str, str]:
    """The table's lines by message."""
    text = (files(__package__) / "protobuf_fields.txt").read_text()
    return {name: rest for name, _, rest in (line.partition(" ") for line in text.splitlines())}
