"""YAML as Kubernetes reads and writes it: JSON's data model, no timestamps, string keys.

Kept apart because only few requests need PyYAML.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Duplicate(NamedTuple):
    """A key that stands in its map already; `line` counts from 1."""

    key: str
    line: int

    def __str__(self) -> str:
        return f'line {self.line}: key "{self.key}" already set in map'


class _Loader(_Base):  # type: ignore[misc]
    """Reports keys that stand twice and leaves dates as the text they are."""

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
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping


def _construct_map(loader: _Loader, node: Any) -> dict[str, Any]:
    return loader.construct_mapping(node, deep=True)


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)


def load(text: bytes) -> tuple[Any, list[Duplicate]]:
    """The one document in `text` and the keys that stand twice in one of its maps. Raises ValueError."""
    loader = _Loader(text)
    try:
        return loader.get_single_data(), loader.duplicates
    except yaml.YAMLError as error:
        raise ValueError(str(error).replace("\n", " ")) from None
    finally:
        loader.dispose()


def dump(obj: Any) -> bytes:
    encoded: bytes = yaml.dump(obj, Dumper=_Dumper, encoding="utf-8", default_flow_style=False, allow_unicode=True)
    return encoded
