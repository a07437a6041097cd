"""Strategic merge patch: `application/strategic-merge-patch+json`, a merge that knows which lists are sets or maps.

What a list is, its schema says: merged by the key that names its elements, merged as a set of scalars, or replaced. Directives in the
patch change that: `$patch: replace | delete` in a map or in an element of a list; `$deleteFromPrimitiveList/<field>` names scalars to
remove; `$setElementOrder/<field>` gives the order that the patched elements must have; `$retainKeys` removes every other key of a map.
Source: upstream `strategic-merge-patch.md`, `preserve-order-in-strategic-merge-patch.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pilothouse.api.meta import Object
from pilothouse.api.schema.types import ListOf, MapOf, Struct, Type, struct_of
from pilothouse.api.status import BadRequest, Invalid, StatusError

_DIRECTIVE = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList"
_ELEMENT_ORDER = "$setElementOrder"

_BAD_RETAIN_KEYS = "invalid patch format of retainKeys"
_BAD_DELETION = "invalid patch format of primitive list"
_BAD_ORDER = "invalid patch format of setElementOrder list"


class PatchField(NamedTuple):
    """What a strategic merge must know of one field."""

    schema: PatchSchema | None
    """Of the field's value, of a list's elements, or of a map's values; None if those are scalars."""
    strategy: str = ""
    """`merge`, `replace`, or empty: maps merge then and lists are replaced."""
    merge_key: str = ""
    """The key that names the elements of a merged list of maps."""


class PatchSchema(Protocol):
    """The facts of a type, one field at a time."""

    def patch_field(self, name: str) -> PatchField | None:
        """The facts of the field `name`, or None if the type has no such field."""


class _StructFacts:
    """The facts of a declared type; each field's are made once."""

    __slots__ = ("_fields", "_struct")

    def __init__(self, struct: Struct) -> None:
        self._struct = struct
        self._fields: dict[str, PatchField] = {}

    def patch_field(self, name: str) -> PatchField | None:
        found = self._fields.get(name)
        declared = self._struct.fields.get(name)
        if found is None and declared is not None:
            item = declared.type.item if isinstance(declared.type, ListOf) else declared.type
            strategies = [each for each in declared.patch_strategy.split(",") if each != "retainKeys"]
            strategy = strategies[0] if strategies else ""
            found = self._fields[name] = PatchField(_facts_of(item), strategy, declared.merge_key)
        return found


class _MapFacts:
    """The facts of a map: those of its values, whatever the key."""

    __slots__ = ("_value",)

    def __init__(self, value: PatchSchema | None) -> None:
        self._value = value

    def patch_field(self, name: str) -> PatchField | None:
        return PatchField(self._value)


def _facts_of(found: Type) -> PatchSchema | None:
    if isinstance(found, MapOf):
        return _MapFacts(_facts_of(found.value))
    struct = struct_of(found)
    return schema_of_struct(struct) if struct is not None else None


def schema_of_struct(struct: Struct) -> PatchSchema:
    """What strategic merge must know of a declared type; made once for each."""
    facts: PatchSchema = struct.passes.get("patch") or struct.passes.setdefault("patch", _StructFacts(struct))
    return facts


def apply(obj: Mapping[str, Any], patch: Any, schema: PatchSchema) -> Object:
    """`obj` with the decoded `patch` merged into it by the facts of `schema` (`schema_of_struct(schema_of(…).struct)`).

    Neither argument is changed; the result shares with them what it did not have to rebuild. Raises a StatusError with upstream's
    message and code for a patch that breaks the rules.
    """
    if not isinstance(patch, dict):
        kind = "array" if isinstance(patch, list) else "null" if patch is None else "value"
        raise BadRequest(f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
    return _merged_map(obj, patch, schema)


def _merged_map(original: Mapping[str, Any], patch: Mapping[str, Any], schema: PatchSchema | None) -> Object:
    result = dict(original)
    directives = [key for key in patch if key[:1] == "$"]
    if _DIRECTIVE in directives:
        return _directed_map(patch)
    if directives:
        patch = _directed(result, patch, directives, schema)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
            continue
        if value.__class__ is str:
            # Nearly everything is a text, and nothing about one is special.
            result[key] = value
            continue
        present = result.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            field = _field(schema, key)
            result[key] = value if field.strategy == "replace" else _merged_map(present, value, field.schema)
        elif isinstance(present, list) and isinstance(value, list):
            result[key] = _merged_list(present, value, _field(schema, key))
        elif isinstance(value, dict) and _DIRECTIVE in value:
            result.pop(key, None)
        else:
            result[key] = _plain(_without_nulls(value))
    return result


def _directed(
    result: Object, patch: Mapping[str, Any], directives: Sequence[str], schema: PatchSchema | None
) -> Mapping[str, Any]:
    """Does to `result` what the directives of a patch say, and returns the rest of it."""
    if _RETAIN_KEYS in patch:
        _retain_keys(result, patch)
    rest = {key: value for key, value in patch.items() if key != _RETAIN_KEYS}
    for key in directives:
        if key.startswith(_ELEMENT_ORDER):
            _merge_ordered(result, rest, key, schema)
    for key in directives:
        if key.startswith(_DELETE_FROM):
            _delete_scalars(result, key, rest.pop(key))
    return rest


def _directed_map(patch: Mapping[str, Any]) -> Object:
    directive = patch[_DIRECTIVE]
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    raise _bad_directive(directive, patch)


def _retain_keys(result: Object, patch: Mapping[str, Any]) -> None:
    """Remove every key that the directive does not name; every key that the patch sets must be named."""
    listed = patch[_RETAIN_KEYS]
    if not isinstance(listed, list):
        raise BadRequest(_BAD_RETAIN_KEYS)
    for key, value in patch.items():
        exempt = key == _RETAIN_KEYS or key.startswith((_DELETE_FROM, _ELEMENT_ORDER))
        if not exempt and value is not None and key not in listed:
            raise BadRequest(_BAD_RETAIN_KEYS)
    for key in [key for key in result if key not in listed]:
        del result[key]


def _delete_scalars(result: Object, directive: str, listed: Any) -> None:
    name = _named(directive, _DELETE_FROM, _BAD_DELETION)
    present = result.get(name)
    if listed is None:
        result.pop(name, None)
    elif isinstance(present, list) and isinstance(listed, list):
        _element_type(present, listed)
        result[name] = [value for value in present if value not in listed]


def _merge_ordered(result: Object, rest: Object, directive: str, schema: PatchSchema | None) -> None:
    """Merge the list that an order directive names, put it in that order, and take both out of `rest`."""
    order = rest.pop(directive)
    if not isinstance(order, list):
        raise _unexpected([], order)
    name = _named(directive, _ELEMENT_ORDER, _BAD_ORDER)
    present, patched = result.get(name), rest.pop(name, None)
    for value in (present, patched):
        if value is not None and not isinstance(value, list):
            raise _unexpected([], value)
    field = _field(schema, name)
    _check_order(patched or [], order, field.merge_key)
    if present is None and patched is None:
        return
    standing = present or []
    if present is None:
        merged = _plain(patched)
    elif patched is None:
        merged = present
    else:
        combined, changes, kept = _combined(present, patched, field)
        merged = _interleaved(combined, changes, kept, field.merge_key) if changes is not None else combined
        standing = combined[: len(present)]
    result[name] = _interleaved(merged, order, standing, field.merge_key)


def _check_order(patched: Sequence[Any], order: Sequence[Any], merge_key: str) -> None:
    """The elements that the patch changes must all stand in the order's list, in that order."""
    if not patched or not order:
        return
    kept = [each for each in patched if not (isinstance(each, dict) and _DIRECTIVE in each)]
    identity = _identity(merge_key)
    position = 0
    for each in order:
        if position < len(kept) and identity(kept[position]) == identity(each):
            position += 1
    if position < len(kept):
        raise StatusError(
            f"The order in patch list:\n{_shown(patched)}\n doesn't match {_ELEMENT_ORDER} list:\n{_shown(order)}\n"
        )


def _merged_list(original: Sequence[Any], patch: Sequence[Any], field: PatchField) -> list[Any]:
    merged, changes, kept = _combined(original, patch, field)
    return _interleaved(merged, changes, kept, field.merge_key) if changes is not None else merged


def _combined(
    original: Sequence[Any], patch: Sequence[Any], field: PatchField
) -> tuple[list[Any], Sequence[Any] | None, Sequence[Any]]:
    """The merged list with new elements at its end, the elements of `patch` that are no directives, and what `original` kept.

    The second is None if the merged list has the order that it should have.
    """
    if field.strategy != "merge":
        return list(patch), None, ()
    if _element_type(original, patch) is not dict:
        return list(dict.fromkeys([*original, *patch])), patch, original
    key = field.merge_key
    if not key:
        raise StatusError("cannot merge lists without merge key for struct")
    kept, changes = _directed_list(original, patch, key)
    merged = list(kept)
    places: dict[Any, int] = {}
    for place, element in enumerate(merged):
        if key in element:
            places.setdefault(element[key], place)
    taken: list[int] = []
    for change in changes:
        if key not in change:
            raise _no_merge_key(change, key)
        place = places.setdefault(change[key], len(merged))
        taken.append(place)
        if place == len(merged):
            merged.append(change)
        else:
            merged[place] = _merged_map(merged[place], change, field.schema)
    is_in_order = len(places) == len(merged) == len(kept) and taken == sorted(taken)
    return merged, None if is_in_order else changes, kept


def _directed_list(
    original: Sequence[Any], patch: Sequence[Object], key: str
) -> tuple[Sequence[Object], Sequence[Object]]:
    """What is left of `original` after the elements of `patch` that are directives, and the elements that are none."""
    changes, kept, replace = [], list(original), False
    for element in patch:
        directive = element.get(_DIRECTIVE)
        if _DIRECTIVE not in element:
            changes.append(element)
        elif directive == "delete":
            if key not in element:
                raise _no_merge_key(element, key)
            kept = [each for each in kept if each.get(key, _ABSENT) != element[key]]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise StatusError("merging lists cannot yet be specified in the patch")
        else:
            raise _bad_directive(directive, element)
    return (changes, []) if replace else (kept, changes)


_ABSENT = object()


def _identity(merge_key: str) -> Callable[[Any], Any]:
    """What tells one element of a list from another."""
    if not merge_key:
        return lambda element: element

    def of(element: Any) -> Any:
        if not isinstance(element, dict):
            raise _unexpected({}, element)
        if merge_key not in element:
            raise _no_merge_key(element, merge_key)
        return element[merge_key]

    return of


def _interleaved(merged: Iterable[Any], order: Sequence[Any], original: Sequence[Any], merge_key: str) -> list[Any]:
    """`merged` with the elements named in `order` in that order, and the others between them as they stood in `original`."""
    identity = _identity(merge_key)
    ordered = _positions(order, identity)
    standing = _positions(original, identity)
    ours: list[Any] = []
    others: list[Any] = []
    for element in merged:
        (ours if identity(element) in ordered else others).append(element)
    ours.sort(key=lambda element: ordered[identity(element)])
    others.sort(key=lambda element: standing.get(identity(element), len(standing)))
    result: list[Any] = []
    waiting = iter(others)
    other = next(waiting, None)
    for element in ours:
        place = standing.get(identity(element))
        while other is not None and place is not None and standing.get(identity(other), place) < place:
            result.append(other)
            other = next(waiting, None)
        result.append(element)
    if other is not None:
        result.append(other)
    result.extend(waiting)
    return result


def _positions(elements: Sequence[Any], identity: Callable[[Any], Any]) -> dict[Any, int]:
    positions: dict[Any, int] = {}
    for i, element in enumerate(elements):
        positions.setdefault(identity(element), i)
    return positions


def _element_type(*lists: Sequence[Any]) -> type:
    """The one type of all elements; a merge of mixed lists has no meaning."""
    types = {type(element) for elements in lists for element in elements}
    if list in types:
        raise Invalid("the server rejected our request due to an error in our request")
    if len(types) > 1:
        raise StatusError(f"list element types are not identical: {_shown(lists)}")
    return types.pop() if types else str


def _field(schema: PatchSchema | None, name: str) -> PatchField:
    field = schema.patch_field(name) if schema is not None else None
    if field is None:
        raise StatusError(f'unable to find api field "{name}"')
    return field


def _named(directive: str, prefix: str, message: str) -> str:
    start, separator, name = directive.partition("/")
    if not separator or start != prefix:
        raise BadRequest(message)
    return name


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value


def _plain(value: Any) -> Any:
    """`value` without directives: elements and fields that carry one are left out."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if not (isinstance(each, dict) and _DIRECTIVE in each)}
    if isinstance(value, list):
        return [_plain(each) for each in value if not (isinstance(each, dict) and _DIRECTIVE in each)]
    return value


def _shown(value: Any) -> str:
    """As Go prints a decoded value."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_shown(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(_shown, value))}]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


_GO_TYPES: Mapping[type, str] = {
    dict: "map[string]interface {}", list: "[]interface {}", str: "string", bool: "bool", int: "int64", float: "float64",
    type(None): "%!s(<nil>)",
}  # fmt: skip


def _unexpected(expected: Any, actual: Any) -> StatusError:
    return StatusError(f"expected a {_GO_TYPES[type(expected)]}, but received a {_GO_TYPES[type(actual)]}")


def _no_merge_key(element: Mapping[str, Any], key: str) -> StatusError:
    return StatusError(f"map: {_shown(element)} does not contain declared merge key: {key}")


def _bad_directive(directive: Any, element: Mapping[str, Any]) -> StatusError:
    return StatusError(f"unknown patch type: {_shown(directive)} in map: {_shown(element)}")
