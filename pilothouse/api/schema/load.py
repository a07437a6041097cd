"""The fast pass over an object that a client sent: is it regular, and how is it written?

Compiled per type into closures. It drops nulls and empty values that upstream leaves out, writes those that upstream always writes,
and puts quantities in canonical form, all in place. It knows neither paths nor messages: at the first thing that is not as it should be
it raises `Irregular`, and `repair` goes over the object again, slowly, to say what is wrong. Types compile when a value of
them is first met.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pilothouse.api import quantity
from pilothouse.api.meta import Object
from pilothouse.api.schema.types import Field, ListOf, MapOf, Scalar, Struct, Type, struct_of
from pilothouse.kit.remembered import remembered

Load = Callable[[Any], None]
Entry = tuple[type | None, Load | None, bool, "Convert | None"]
"""The class of a regular value, the pass for one that is not empty, whether an empty one stays, and what handles any other class."""
Convert = Callable[[Any], Any]

is_time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ").fullmatch
is_micro_time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z").fullmatch
is_base64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?").fullmatch


class Irregular(Exception):
    """The object needs the slow pass."""


@remembered(4096)
def canonical_quantity(text: str) -> str:
    """The canonical form. Raises ValueError."""
    return str(quantity.parse(text))


def loader(struct: Struct) -> Load:
    """The pass for objects of a type."""
    found: Load | None = struct.passes.get("load")
    if found is None:
        found = struct.passes["load"] = _compile(struct)
    return found


def load_changed(struct: Struct, obj: Object, before: Mapping[str, Any]) -> None:
    """The pass for an object that shares (`is`) with `before`, which has been through it, the fields that it did not change."""
    changed = {key: value for key, value in obj.items() if value is not before.get(key, _MISSING)}
    given = tuple(changed)
    loader(struct)(changed)
    for key in given:
        if key in changed:
            obj[key] = changed[key]
        else:
            del obj[key]
    for key, value in changed.items():
        obj.setdefault(key, value)


_MISSING = object()


def _compile(struct: Struct) -> Load:
    entries: dict[str, Entry] = {}
    for name, field in struct.fields.items():
        entries[name] = _entry(entries, name, field)
    always = tuple(
        (name, _null if field.presence == "null" else _zero(field.type))
        for name, field in struct.fields.items()
        if field.presence in ("always", "null")
    )
    stays_null = frozenset(name for name, field in struct.fields.items() if field.presence == "null")
    preserves_unknown = struct.preserves_unknown
    entry_of = entries.get

    def load(obj: Object) -> None:
        dropped: list[str] | None = None
        for key, value in obj.items():
            entry = entry_of(key)
            if entry is None:
                if preserves_unknown:
                    continue
                raise Irregular
            regular, check, keeps_empty, convert = entry
            if value.__class__ is regular:
                if value:
                    if check is not None:
                        check(value)
                elif not keeps_empty:
                    dropped = [key] if dropped is None else [*dropped, key]
            elif value is None:
                if key not in stays_null:
                    dropped = [key] if dropped is None else [*dropped, key]
            elif convert is not None:
                obj[key] = convert(value)
            else:
                raise Irregular
        if dropped is not None:
            for key in dropped:
                del obj[key]
        for key, zero in always:
            if key not in obj:
                obj[key] = zero()

    return load


def _entry(entries: dict[str, Entry], name: str, field: Field) -> Entry:
    found = field.type
    # An empty list where upstream writes one that is missing as null does not come back from its store.
    keeps = field.presence != "" and not (field.presence == "null" and isinstance(found, ListOf | MapOf))
    if isinstance(found, Scalar):
        return _scalar_entry(found.name, keeps)
    if isinstance(found, ListOf):
        return list, _list_loader(found.item), keeps, None
    if isinstance(found, MapOf):
        return dict, _map_loader(found.value), keeps, None

    def first(value: Any) -> None:
        struct = struct_of(found)
        assert struct is not None
        compiled = loader(struct)
        entries[name] = (_Struct, None, True, _on_dict(compiled))
        compiled(value)

    return _Struct, None, True, lambda value: _first(first, value)


class _Struct:
    """No value is of this class: every struct goes to the pass of its type, the empty one as well."""


def _first(first: Load, value: Any) -> Any:
    if value.__class__ is not dict:
        raise Irregular
    first(value)
    return value


def _on_dict(load: Load) -> Convert:
    def convert(value: Any) -> Any:
        if value.__class__ is not dict:
            raise Irregular
        load(value)
        return value

    return convert


def _scalar_entry(name: str, keeps: bool) -> Entry:
    match name:
        case "string":
            return str, None, keeps, None
        case "boolean":
            return bool, None, keeps, None
        case "int32":
            return int, _check_int32, keeps, None
        case "int64":
            return int, _check_int64, keeps, None
        case "double":
            return float, None, keeps, _int_as_float
        case "byte":
            return str, _check_base64, keeps, None
        case "quantity":
            return None, None, True, _quantity
        case "int-or-string":
            return int, _check_int32, True, _string_only
        case "time":
            return None, None, True, _time
        case "micro-time":
            return None, None, True, _micro_time
        case "object":
            return dict, None, True, None
        case _:
            return None, None, True, _anything


def _null() -> None:
    return None


def _zero(found: Type) -> Callable[[], Any]:
    if isinstance(found, Scalar):
        value = {"boolean": False, "quantity": "0"}.get(found.name, "" if found.name in ("string", "byte") else 0)
        return lambda: value
    struct = struct_of(found)
    if struct is None:
        return dict

    def make() -> Object:
        empty: Object = {}
        loader(struct)(empty)
        return empty

    return make


def _list_loader(item: Type) -> Load:
    if isinstance(item, Scalar):
        return _plain_list(item.name)
    if isinstance(item, ListOf | MapOf):
        nested = _list_loader(item.item) if isinstance(item, ListOf) else _map_loader(item.value)
        kind: type = list if isinstance(item, ListOf) else dict

        def load_nested(values: list[Any]) -> None:
            for value in values:
                if value.__class__ is not kind:
                    raise Irregular
                nested(value)

        return load_nested
    compiled: Load | None = None

    def load_structs(values: list[Any]) -> None:
        nonlocal compiled
        if compiled is None:
            struct = struct_of(item)
            assert struct is not None
            compiled = loader(struct)
        for value in values:
            if value.__class__ is not dict:
                raise Irregular
            compiled(value)

    return load_structs


def _plain_list(name: str) -> Load:
    regular, check, _, convert = _scalar_entry(name, True)
    if name == "string":

        def load_strings(values: list[Any]) -> None:
            for value in values:
                if value.__class__ is not str:
                    raise Irregular

        return load_strings

    def load_values(values: list[Any]) -> None:
        for index, value in enumerate(values):
            if value.__class__ is regular:
                if check is not None:
                    check(value)
            elif convert is not None and (value is not None or convert is _anything):
                values[index] = convert(value)
            else:
                raise Irregular

    return load_values


def _map_loader(item: Type) -> Load:
    if isinstance(item, Scalar) and item.name == "string":

        def load_strings(values: Object) -> None:
            for value in values.values():
                if value.__class__ is not str:
                    raise Irregular

        return load_strings
    if isinstance(item, Scalar):
        regular, check, _, convert = _scalar_entry(item.name, True)
        on_value = None
    else:
        regular = list if isinstance(item, ListOf) else dict
        convert = None
        check = on_value = _nested(item)

    may_be_null = isinstance(item, Scalar) and item.name in ("time", "micro-time", "any")

    def load_values(values: Object) -> None:
        for key, value in values.items():
            if value.__class__ is regular:
                if check is not None and (value or on_value is not None):
                    check(value)
            elif value is None and may_be_null:
                continue
            elif convert is not None and value is not None:
                values[key] = convert(value)
            else:
                raise Irregular

    return load_values


def _nested(item: Type) -> Load:
    if isinstance(item, ListOf):
        return _list_loader(item.item)
    if isinstance(item, MapOf):
        return _map_loader(item.value)
    struct = struct_of(item)
    assert struct is not None
    return lambda value: loader(struct)(value)


def _check_int32(value: int) -> None:
    if not -0x80000000 <= value <= 0x7FFFFFFF:
        raise Irregular


def _check_int64(value: int) -> None:
    if not -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        raise Irregular


def _check_base64(value: str) -> None:
    if is_base64(value) is None:
        raise Irregular


def _time(value: Any) -> str:
    if value.__class__ is not str or is_time(value) is None:
        raise Irregular
    return value


def _micro_time(value: Any) -> str:
    if value.__class__ is not str or is_micro_time(value) is None:
        raise Irregular
    return value


def _int_as_float(value: Any) -> Any:
    if value.__class__ is not int:
        raise Irregular
    return value


def _quantity(value: Any) -> str:
    if value.__class__ is not str:
        raise Irregular
    try:
        return canonical_quantity(value)
    except ValueError:
        raise Irregular from None


def _string_only(value: Any) -> Any:
    if value.__class__ is not str:
        raise Irregular
    return value


def _anything(value: Any) -> Any:
    return value
