"""Sets of fields, in the very form in which managedFields holds them: nested dicts.

A key is an element of a path. `{}` below it says that the field itself is in the set; a dict with fields below it says so only with the
key `.`; there is no `{".": {}}` alone, and no branch without a field. So sets are equal if the dicts are, and encoding costs nothing.
Only what goes into an entry of managedFields has an order.
Sets are values: no function changes one, and results share parts with arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import orjson

from pilothouse.api.apply.elements import SELF, Element, canonical, place

FieldSet = dict[Element, Any]


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """The fields of either."""
    if not left:
        return right
    result = None
    for key, below in right.items():
        present = left.get(key)
        if present is None:
            joined = below
        elif present == below:
            continue
        elif not present or not below:
            joined = with_self(present or below)
        else:
            joined = union(present, below)
        if joined is present:
            continue
        if result is None:
            result = dict(left)
        result[key] = joined
    return left if result is None else result


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """The fields of `left` that are not in `right`; `left` itself if that is all of them. A field does not take those within along."""
    result = None
    for key, below in right.items():
        present = left.get(key)
        if present is None:
            continue
        kept = _minus(present, below)
        if kept is present:
            continue
        if result is None:
            result = dict(left)
        if kept is None:
            del result[key]
        else:
            result[key] = kept
    return left if result is None else result


def _minus(present: FieldSet, below: FieldSet) -> FieldSet | None:
    if not present:
        return None if not below or SELF in below else present
    if not below:
        return {key: value for key, value in present.items() if key != SELF} if SELF in present else present
    kept = difference(present, below)
    return _normal(kept) if kept is not present else present


def _normal(fields: FieldSet) -> FieldSet | None:
    """A branch without fields is none; one whose only field is itself is written short."""
    if not fields:
        return None
    return {} if len(fields) == 1 and SELF in fields else fields


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """The fields of both."""
    result: FieldSet = {}
    for key, below in right.items():
        present = left.get(key)
        if present is None:
            continue
        if not present or not below:
            if not (present or below) or SELF in (present or below):
                result[key] = {}
        elif (common := _normal(intersection(present, below))) is not None:
            result[key] = common
    return result


def without(fields: FieldSet, excluded: FieldSet) -> FieldSet:
    """The fields that are neither in `excluded` nor below one that is."""
    result = None
    for key, below in excluded.items():
        present = fields.get(key)
        if present is None:
            continue
        kept = None
        if below and SELF not in below and present:
            kept = without(present, below)
            if kept is present:
                continue
            kept = _normal(kept)
        elif below and SELF not in below:
            continue
        if result is None:
            result = dict(fields)
        if kept is None:
            del result[key]
        else:
            result[key] = kept
    return fields if result is None else result


def with_self(fields: FieldSet) -> FieldSet:
    """A branch and the field that it is of."""
    return fields if not fields or SELF in fields else {SELF: {}, **fields}


def ordered(fields: FieldSet) -> FieldSet:
    """The same set as upstream writes it: the field itself first, then what is within, by `place`; clients compare the text.

    The order of the elements' text is the same unless values or numbers are among them, and that order costs little.
    """
    text, ordered_text = orjson.dumps(fields), orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    if text.count(b'"v:') + text.count(b'"i:') + text.count(_NAMED) - text.count(_NAMED_TEXT) > 1:
        return _placed(fields)
    return fields if text == ordered_text else cast(FieldSet, orjson.loads(ordered_text))


_NAMED, _NAMED_TEXT = b'\\":', b'\\":\\"'
"""After the name of a key field in an element such as `k:{"name":"web"}`: before any value, and before a text."""


def _placed(fields: FieldSet) -> FieldSet:
    own = {SELF: fields[SELF]} if SELF in fields else {}
    order = sorted((key for key in fields if key != SELF), key=place)
    return own | {key: _placed(fields[key]) for key in order}


def is_subset(left: FieldSet, right: FieldSet) -> bool:
    """Whether `right` has all fields of `left`."""
    return not difference(left, right)


def paths(fields: FieldSet, prefix: tuple[Element, ...] = ()) -> Iterator[tuple[Element, ...]]:
    """Every field of the set, in upstream's order: at each level first the fields there, then those within."""
    order = sorted((key for key in fields if key != SELF), key=place)
    for key in order:
        if not fields[key] or SELF in fields[key]:
            yield (*prefix, key)
    for key in order:
        yield from paths(fields[key], (*prefix, key))


def of_paths(found: Iterator[tuple[Element, ...]] | list[tuple[Element, ...]]) -> FieldSet:
    """The set of the given paths."""
    result: FieldSet = {}
    for path in found:
        single: FieldSet = {}
        for element in reversed(path):
            single = {element: single}
        result = union(result, single)
    return result


def parsed(fields: Any) -> FieldSet:
    """A set that a client wrote, in this module's form. What a later version may know is dropped. Raises ValueError."""
    return {key: below for key, below in _parsed(fields).items() if key != SELF}


def _parsed(fields: Any) -> FieldSet:
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise ValueError(f"not a set of fields: {fields!r}")
    result: FieldSet = {}
    for key, below in fields.items():
        if key == SELF:
            result[SELF] = {}
        elif (element := canonical(key)) is not None:
            result[element] = _parsed(below)
    return {} if len(result) == 1 and SELF in result else result
