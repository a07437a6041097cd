"""Is a value what its schema says? The faults, under the paths and in the words of upstream.

An update is judged with the old value beside the new one: what has not changed may stay as it is, even where a rule has come since
(KEP-4008). Items of lists correspond to old items only in lists of type `map`.
Source: kube-openapi `pkg/validation/validate`, apiextensions-apiserver `pkg/apiserver/validation`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pilothouse.api.path import FieldError, Path, invalid, not_supported, required, too_long, too_many, type_invalid
from pilothouse.api.structural import formats, pattern
from pilothouse.api.structural.schema import Structural

_MISSING: Final = object()
_INTEGER_RANGES = {"int32": 2**31, "int64": 2**63}
_FLOAT_MAX = 3.4028234663852886e38


def check(value: Any, schema: Structural, *, at: str = "", old: Any = _MISSING) -> list[FieldError]:
    """The faults of a value that stands at the field path `at` of its object; with `old`, of a change."""
    outcome = _Outcome(Path(at) if at else None)
    _value(value, schema, "", old, outcome)
    return outcome.faults


@dataclass(slots=True)
class _Outcome:
    base: Path | None
    faults: list[FieldError] = field(default_factory=list)
    matches: int = 0
    """How many checks went well, by which the best of several failed alternatives is chosen."""

    def path(self, name: str) -> Path:
        name = name.removeprefix(".")
        if not name:
            return self.base or Path()
        return self.base.child(name) if self.base is not None else Path(name)

    def alternative(self) -> _Outcome:
        return _Outcome(self.base)

    def merge(self, other: _Outcome) -> None:
        self.faults += other.faults
        self.matches += other.matches

    def whole(self, text: str) -> None:
        """A fault of a junctor, which upstream does not place."""
        self.faults.append(invalid(self.base or Path(), "", text))

    def invalid(self, name: str, value: Any, text: str) -> None:
        self.faults.append(invalid(self.path(name), "" if value is None else value, f"{name} in body {text}"))

    def wrong_type(self, name: str, wanted: str, found: str) -> None:
        text = f"{name} in body must be of type {wanted}: {json.dumps(found, ensure_ascii=False)}"
        self.faults.append(type_invalid(self.path(name), found, text))


def _value(value: Any, schema: Structural, name: str, old: Any, outcome: _Outcome) -> None:
    start = len(outcome.faults)
    if value is None:
        if schema.types and not schema.nullable:
            outcome.wrong_type(name, ",".join(schema.types), "null")
        if schema.enum is not None:
            _enum(value, schema.enum, name, outcome)
    else:
        _type(value, schema, name, outcome)
        _junctors(value, schema, name, outcome)
        kind = value.__class__
        if kind is str:
            _string(value, schema, name, outcome)
        elif kind is int or kind is float:
            _number(value, schema, name, outcome)
        elif kind is list:
            _list(value, schema, name, old, outcome)
        if schema.enum is not None:
            _enum(value, schema.enum, name, outcome)
        if kind is dict:
            _object(value, schema, name, old, outcome)
        outcome.matches += 2
    if old is not _MISSING and len(outcome.faults) > start and value == old:
        del outcome.faults[start:]


def _type(value: Any, schema: Structural, name: str, outcome: _Outcome) -> None:
    types = schema.types
    if not types:
        return
    found = json_type(value)
    fits = found in types or (found == "integer" and "number" in types)
    if not fits and found == "number" and "integer" in types:
        fits = float(value).is_integer()
    if fits:
        outcome.matches += 2
        return
    if schema.format and formats.is_known(schema.type, schema.format):
        if not isinstance(value, str | list):
            shown = {"integer": "int64", "number": "float64"}.get(found, "")
            outcome.wrong_type(name, schema.format, shown)
            return
        if schema.type == "string":
            return
    outcome.wrong_type(name, ",".join(types), found)


def json_type(value: Any) -> str:
    """The schema's name of a value's type."""
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case None:
            return "null"
        case _:
            return "object"


def _junctors(value: Any, schema: Structural, name: str, outcome: _Outcome) -> None:
    quoted = json.dumps(name)
    if schema.any_of:
        tried = _tried(value, schema.any_of, name, outcome)
        good = next((each for each in tried if not each.faults), None)
        if good is None:
            outcome.whole(f"{quoted} must validate at least one schema (anyOf)")
        outcome.merge(good or _best(tried))
    if schema.one_of:
        tried = _tried(value, schema.one_of, name, outcome)
        valid = [each for each in tried if not each.faults]
        if len(valid) == 1:
            outcome.merge(valid[0])
        else:
            why = f"Found {len(valid)} valid alternatives" if valid else "Found none valid"
            outcome.whole(f"{quoted} must validate one and only one schema (oneOf). {why}")
            if not valid:
                outcome.merge(_best(tried))
    if schema.all_of:
        tried = _tried(value, schema.all_of, name, outcome)
        for each in tried:
            outcome.merge(each)
        failed = sum(bool(each.faults) for each in tried)
        if failed:
            none = ". None validated" if failed == len(tried) else ""
            outcome.whole(f"{quoted} must validate all the schemas (allOf){none}")
    if schema.not_ is not None and not _tried(value, (schema.not_,), name, outcome)[0].faults:
        outcome.whole(f"{quoted} must not validate the schema (not)")
    outcome.matches += 2


def _tried(value: Any, schemas: Sequence[Structural], name: str, outcome: _Outcome) -> list[_Outcome]:
    tried = []
    for schema in schemas:
        each = outcome.alternative()
        _value(value, schema, name, _MISSING, each)
        tried.append(each)
    return tried


def _best(tried: Sequence[_Outcome]) -> _Outcome:
    return max(tried, key=lambda each: each.matches)


def _string(value: str, schema: Structural, name: str, outcome: _Outcome) -> None:
    if schema.max_length is not None and len(value) > schema.max_length:
        outcome.faults.append(too_long(outcome.path(name), schema.max_length))
    elif schema.min_length is not None and len(value) < schema.min_length:
        outcome.invalid(name, value, f"should be at least {schema.min_length} chars long")
    elif schema.pattern and pattern.compiled(schema.pattern).search(value) is None:
        outcome.invalid(name, value, f"should match '{schema.pattern}'")
    else:
        outcome.matches += 1
    if schema.format and schema.type in ("", "string") and formats.is_known("string", schema.format):
        if formats.matches(schema.format, value):
            outcome.matches += 1
        else:
            outcome.wrong_type(name, schema.format, value)


def _number(value: float, schema: Structural, name: str, outcome: _Outcome) -> None:
    limit = _INTEGER_RANGES.get(schema.format) if schema.type == "integer" else None
    if schema.type == "integer" and isinstance(value, float) and not value.is_integer():
        text = f"Checked value must be of type integer (default format) in {name}"
        outcome.faults.append(invalid(outcome.base or Path(), "", text))
        limit = None
    if limit is not None and not -limit <= value < limit:
        text = f"Checked value must be of type integer with format {schema.format} in {name}"
        outcome.faults.append(invalid(outcome.base or Path(), "", text))
    elif schema.type == "number" and schema.format == "float" and abs(value) > _FLOAT_MAX:
        outcome.faults.append(
            invalid(outcome.base or Path(), "", f"Checked value must be of type number with format float in {name}")
        )
    if schema.multiple_of and not _is_multiple(value, schema.multiple_of):
        outcome.invalid(name, value, f"should be a multiple of {shown(schema.multiple_of)}")
    minimum, maximum = schema.minimum, schema.maximum
    if minimum is not None and (value <= minimum if schema.exclusive_minimum else value < minimum):
        relation = "greater than" if schema.exclusive_minimum else "greater than or equal to"
        outcome.invalid(name, value, f"should be {relation} {shown(minimum)}")
    if maximum is not None and (value >= maximum if schema.exclusive_maximum else value > maximum):
        relation = "less than" if schema.exclusive_maximum else "less than or equal to"
        outcome.invalid(name, value, f"should be {relation} {shown(maximum)}")
    outcome.matches += 1


def _is_multiple(value: float, factor: float) -> bool:
    if isinstance(value, int) and float(factor).is_integer():
        return value % int(factor) == 0
    quotient = value / factor if factor >= 1 else 1 / factor * value
    return abs(quotient - round(quotient)) < 1e-9


def shown(number: float) -> str:
    """A number as upstream prints it: without a fraction that is none."""
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e21 else repr(float(number))


def _list(value: list[Any], schema: Structural, name: str, old: Any, outcome: _Outcome) -> None:
    if schema.items is not None:
        correlated = _correlated_items(value, schema, old)
        for index, item in enumerate(value):
            _value(item, schema.items, f"{name}[{index}]", correlated[index] if correlated else _MISSING, outcome)
    if schema.min_items is not None and len(value) < schema.min_items:
        outcome.invalid(name, len(value), f"should have at least {schema.min_items} items")
    if schema.max_items is not None and len(value) > schema.max_items:
        outcome.faults.append(too_many(outcome.path(name), len(value), schema.max_items))
    outcome.matches += 1


def _correlated_items(value: list[Any], schema: Structural, old: Any) -> list[Any] | None:
    if schema.list_type != "map" or old.__class__ is not list:
        return None
    known = {item_key(item, schema.map_keys, schema.items): item for item in old if isinstance(item, dict)}
    return [
        known.get(item_key(item, schema.map_keys, schema.items), _MISSING) if isinstance(item, dict) else _MISSING
        for item in value
    ]


def item_key(item: dict[str, Any], keys: Iterable[str], items: Structural | None) -> str:
    """What tells an item of a list of type `map` apart; a key that is missing has its default."""
    defaults = {} if items is None else {key: found.default for key in keys if (found := items.properties.get(key))}
    return json.dumps([item.get(key, defaults.get(key)) for key in keys], sort_keys=True)


def _object(value: dict[str, Any], schema: Structural, name: str, old: Any, outcome: _Outcome) -> None:
    size = len(value)
    if schema.min_properties is not None and size < schema.min_properties:
        outcome.invalid(name, size, f"should have at least {schema.min_properties} properties")
    if schema.max_properties is not None and size > schema.max_properties:
        outcome.faults.append(too_many(outcome.path(name), size, schema.max_properties))
    before = old if old.__class__ is dict and schema.map_type != "atomic" else {}
    if schema.additional is False:
        for key in value:
            if key not in schema.properties:
                outcome.faults.append(invalid(outcome.path(name), key, f"{name}.{key} in body is a forbidden property"))
    elif isinstance(schema.additional, Structural):
        for key, child in value.items():
            if key not in schema.properties:
                _value(child, schema.additional, f"{name}.{key}", before.get(key, _MISSING), outcome)
    for key, found in schema.properties.items():
        if key in value:
            here = f"{name}.{key}" if name else key
            _value(value[key], found, here, before.get(key, _MISSING), outcome)
    for key in schema.required:
        if key not in value:
            outcome.faults.append(required(outcome.path(f"{name}.{key}")))
    outcome.matches += 1


def _enum(value: Any, allowed: Sequence[Any], name: str, outcome: _Outcome) -> None:
    if any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in allowed if each is not None):
        outcome.matches += 1
        return
    listed = [each if isinstance(each, str) else json.dumps(each, separators=(",", ":")) for each in allowed]
    outcome.faults.append(not_supported(outcome.path(name), value, listed))
