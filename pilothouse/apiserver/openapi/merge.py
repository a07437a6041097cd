"""Documents of OpenAPI 2 of several servers as one. Pure.

Paths that are there already stay as they are. A definition that means something else under the same name gets another: `Name_v2`.
Source: kube-openapi `pkg/aggregator/aggregator.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

from pilothouse.api.meta import Object

_GVKS = "x-kubernetes-group-version-kind"
_PREFIXES = {"definitions": "#/definitions/", "parameters": "#/parameters/"}
Document = Mapping[str, Any]


def merged(base: Document, others: Iterator[Document]) -> Object:
    """`base` with the paths of `others`, and the definitions and parameters that these refer to. A new document; parts are shared."""
    result: Object = {
        **base,
        "paths": dict(base.get("paths") or {}),
        "definitions": dict(base.get("definitions") or {}),
    }
    for other in others:
        _merge(result, other)
    if not result.get("parameters"):
        result.pop("parameters", None)
    result["paths"] = dict(sorted(result["paths"].items()))
    return result


def under(document: Document, prefix: str) -> Object:
    """What a document says of the paths that begin with `prefix`."""
    paths = {path: item for path, item in (document.get("paths") or {}).items() if path.startswith(prefix)}
    return with_paths(document, paths)


def with_paths(document: Document, paths: Mapping[str, Any]) -> Object:
    """A document with only `paths` and what these refer to, directly or not."""
    used = {key: set[str]() for key in _PREFIXES}
    pending: list[Any] = [paths]
    while pending:
        for key, name in _references(pending.pop()):
            found = (document.get(key) or {}).get(name)
            if found is not None and name not in used[key]:
                used[key].add(name)
                pending.append(found)
    parts = {
        key: {name: part for name, part in (document.get(key) or {}).items() if name in names}
        for key, names in used.items()
    }
    return {**document, "paths": dict(paths), **parts}


def _merge(result: Object, source: Document) -> None:
    paths = source.get("paths") or {}
    kept = {path: item for path, item in paths.items() if path not in result["paths"]}
    if not kept:
        return
    if len(kept) < len(paths):
        source = with_paths(source, kept)
    for key, equal in (("definitions", _same_definition), ("parameters", _same)):
        present = result.setdefault(key, {})
        renames = _renames(present, source.get(key) or {}, equal)
        if renames:
            source = _renamed(source, key, renames)
        for name, part in (source.get(key) or {}).items():
            if name not in present:
                present[name] = part
            elif key == "definitions":
                present[name] = _with_kinds(present[name], part)
    result["paths"] |= {path: source["paths"][path] for path in kept}


def _renames(
    present: Mapping[str, Any], incoming: Mapping[str, Any], equal: Callable[[Any, Any], bool]
) -> dict[str, str]:
    """New names for what is not what it is called here."""
    taken = set(incoming)
    renames: dict[str, str] = {}
    for name, part in incoming.items():
        if name not in present or equal(present[name], part):
            continue
        candidates = (f"{name}_v{number}" for number in count(2))
        renames[name] = next(
            new for new in candidates if (equal(present[new], part) if new in present else new not in taken)
        )
        taken.add(renames[name])
    return renames


def _renamed(document: Document, key: str, renames: Mapping[str, str]) -> Object:
    prefix = _PREFIXES[key]
    references = {f"{prefix}{old}": f"{prefix}{new}" for old, new in renames.items()}
    parts = {part: _replaced(document[part], references) for part in ("paths", *_PREFIXES) if document.get(part)}
    parts[key] = {renames.get(name, name): part for name, part in parts.get(key, {}).items()}
    return {**document, **parts}


def _replaced(value: Any, references: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        replaced = {key: _replaced(child, references) for key, child in value.items()}
        reference = replaced.get("$ref")
        if isinstance(reference, str) and reference in references:
            replaced["$ref"] = references[reference]
        return replaced
    return [_replaced(item, references) for item in value] if isinstance(value, list) else value


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """All references in a value: where to, and the name there."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            reference = each.get("$ref")
            for key, prefix in _PREFIXES.items():
                if isinstance(reference, str) and reference.startswith(prefix):
                    yield key, reference.removeprefix(prefix)
            pending += each.values()
        elif isinstance(each, list):
            pending += each


def _same(one: Any, two: Any) -> bool:
    return bool(one == two)


def _same_definition(one: Any, two: Any) -> bool:
    """Whether two definitions differ in nothing but the kinds that they stand for."""
    return bool({**one, _GVKS: None} == {**two, _GVKS: None})


def _with_kinds(present: Object, other: Object) -> Object:
    """A definition that stands for the kinds of another as well."""
    mine, theirs = present.get(_GVKS) or [], other.get(_GVKS) or []
    more = [kind for kind in theirs if kind not in mine]
    if not more:
        return present
    return {**present, _GVKS: sorted([*mine, *more], key=_order) if mine else more}


def _order(kind: Mapping[str, str]) -> str:
    return f"{kind.get('group', '')}/{kind.get('version', '')}.{kind.get('kind', '')}"
