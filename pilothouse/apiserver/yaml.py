"""YAML as Kubernetes reads and writes it: JSON's data model, no timestamps, string keys.

Scalars are of the types that upstream's reader makes them (go.yaml.in/yaml/v2): `y` and `n` are booleans, `0o14` is a number, `1:30` none.
Kept apart because only few requests need PyYAML.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any, ClassVar, NamedTuple

import yaml

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_STRING = "tag:yaml.org,2002:str"


class Duplicate(NamedTuple):
    """A key that stands in its map already; `line` counts from 1."""

    key: str
    line: int

    def __str__(self) -> str:
        return f'line {self.line}: key "{self.key}" already set in map'


class _Loader(_Base):  # type: ignore[misc]
    """Reports keys that stand twice and leaves dates as the text they are."""

    bool_values: ClassVar[dict[str, bool]] = {**_Base.bool_values, "y": True, "n": False}

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self.duplicates: list[Duplicate] = []

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        self.flatten_mapping(node)
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _key(self.construct_object(key_node, deep=True))
            if key in mapping:
                self.duplicates.append(Duplicate(key, key_node.start_mark.line + 1))
            value = self.construct_object(value_node, deep=True)
            mapping[key] = value
        return mapping


def _construct_map(loader: _Loader, node: Any) -> dict[str, Any]:
    return loader.construct_mapping(node, deep=True)


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, dict | list):
        raise yaml.YAMLError("invalid map key")
    return "null" if key is None else str(key)


def _construct_int(loader: _Loader, node: Any) -> int:
    digits = node.value.replace("_", "")
    unsigned = digits.lstrip("+-")
    if unsigned.isdigit() and unsigned != "0" and unsigned.startswith("0"):
        number = int(unsigned, 8)
        return -number if digits.startswith("-") else number
    return int(digits, 0)


def _construct_float(loader: _Loader, node: Any) -> float:
    text = node.value.replace("_", "").lower()
    if text.endswith((".inf", ".nan")):
        shown = "NaN" if text.endswith(".nan") else "-Inf" if text.startswith("-") else "+Inf"
        raise yaml.YAMLError(f"json: unsupported value: {shown}")
    return float(text)


def _construct_binary(loader: _Loader, node: Any) -> str:
    try:
        return b64decode(node.value, validate=False).decode(errors="replace")
    except ValueError:
        raise yaml.YAMLError("!!binary value contains invalid base64 data") from None


def _construct_unknown(loader: _Loader, suffix: str, node: Any) -> Any:
    """A tag of the client's own says nothing."""
    if isinstance(node, yaml.ScalarNode):
        return node.value
    return loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else loader.construct_mapping(node)


_REPLACED = frozenset(f"tag:yaml.org,2002:{name}" for name in ("timestamp", "int", "float"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag not in _REPLACED]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}
_BOOL, _INT, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^[yYnN]$"), list("yYnN"))
_Loader.add_implicit_resolver(
    _INT, re.compile(r"^[-+]?(0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO]?[0-7_]+|0|[1-9][0-9_]*)$"), list("+-0123456789")
)
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"^([-+]?(\.[0-9_]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
    list("+-.0123456789"),
)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)
_Loader.add_constructor(_INT, _construct_int)
_Loader.add_constructor(_FLOAT, _construct_float)
_Loader.add_constructor("tag:yaml.org,2002:binary", _construct_binary)
_Loader.add_multi_constructor("!", _construct_unknown)


def load(text: bytes) -> tuple[Any, list[Duplicate]]:
    """The first document in `text` and the keys that stand twice in one of its maps. Raises ValueError."""
    loader = _Loader(text)
    try:
        return (loader.get_data() if loader.check_data() else None), loader.duplicates
    except yaml.YAMLError as error:
        raise ValueError(_why(error)) from None
    except RecursionError:
        raise ValueError("exceeded max depth") from None
    finally:
        loader.dispose()


def _why(error: yaml.YAMLError) -> str:
    """In the words of upstream's reader, which gives lines from the second on."""
    if isinstance(error, yaml.reader.ReaderError):
        return str(error.reason)
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error).replace("\n", " ")
    line = error.problem_mark.line if error.problem_mark is not None else 0
    if line and isinstance(error, yaml.scanner.ScannerError):
        line += 1
    if isinstance(error, yaml.constructor.ConstructorError) and "recursive" in (error.problem or ""):
        return "anchor value contains itself"
    return f"line {line}: {error.problem}" if line else str(error.problem)


class _Dumper(_BaseDumper):  # type: ignore[misc]
    """Quotes strings as upstream's writer does."""


def _represent_text(dumper: Any, text: str) -> Any:
    style = None
    if "\n" in text:
        style = "|"
    elif not text or text in ("y", "Y", "n", "N") or dumper.resolve(yaml.ScalarNode, text, (True, False)) != _STRING:
        style = '"'
    return dumper.represent_scalar(_STRING, text, style=style)


_Dumper.add_representer(str, _represent_text)


def dump(obj: Any) -> bytes:
    encoded: bytes = yaml.dump(obj, Dumper=_Dumper, encoding="utf-8", default_flow_style=False, allow_unicode=True)
    return encoded
