"""The rules of `x-kubernetes-validations`: expressions in CEL that objects must satisfy.

`self` is the value at the rule's place, `oldSelf` the value there before an update; a rule that speaks of `oldSelf` holds for changes only.
Items of lists correspond to old ones in lists of type `map`. Expressions see what the schema declares, under escaped names, and of
whole objects `apiVersion`, `kind`, `metadata.name` and `metadata.generateName`. What types and costs may be is judged when rules are
defined (`rule_faults`); when they run they are programs over values of any type.
Source: KEP-2876, apiextensions-apiserver `pkg/apiserver/schema/cel`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from pilothouse.api.cel import environment as cel
from pilothouse.api.cel.environment import BOOL, DYN, STRING
from pilothouse.api.duration import go_duration
from pilothouse.api.path import FieldError, Path, invalid
from pilothouse.api.structural.check import item_key
from pilothouse.api.structural.field_path import field_path
from pilothouse.api.structural.schema import Rule, Structural

UNCHECKED = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
_BLOCKING = frozenset(
    ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
)
_MAX_MESSAGE = 5 * 1024
_SPENT = f"'{cel.COST_EXCEEDED}'"
"""After a rule that costs too much no other is asked."""
_old_self = re.compile(r"(?<![\w.])oldSelf\b")
_OPTIONAL_OLD = "(hasOldSelf ? optional.of(presentOldSelf) : optional.none())"


@dataclass(frozen=True, slots=True)
class Compiled:
    rule: Rule
    program: cel.Program
    message: cel.Program | None
    uses_old: bool

    @property
    def is_optional(self) -> bool:
        return bool(self.rule.optional_old_self)


@cache
def _environment() -> cel.Environment:
    return cel.Environment(
        {"self": DYN, "oldSelf": DYN, "hasOldSelf": BOOL, "presentOldSelf": DYN},
    )


def compile_rule(rule: Rule, *, is_new: bool = True) -> Compiled:
    """Raises CompileError; the message expression's begins with `messageExpression `."""
    uses_old = _old_self.search(rule.rule) is not None
    message = None
    program = _environment().compile(_expression(rule.rule, rule), is_new=is_new)
    if program.returns not in (BOOL, DYN):
        raise cel.CompileError("cel expression must evaluate to a bool")
    if rule.message_expression.strip():
        message = compile_message(rule, is_new=is_new)
    return Compiled(rule, program, message, uses_old)


def compile_message(rule: Rule, *, is_new: bool = True) -> cel.Program:
    """Raises CompileError."""
    try:
        program = _environment().compile(_expression(rule.message_expression, rule), is_new=is_new)
    except cel.CompileError as error:
        raise cel.CompileError(f"messageExpression {error}", error.mistakes) from None
    if program.returns not in (STRING, DYN):
        raise cel.CompileError("messageExpression must evaluate to a string")
    return program


def _expression(text: str, rule: Rule) -> str:
    return _old_self.sub(_OPTIONAL_OLD, text) if rule.optional_old_self else text


def blocked(faults: list[FieldError]) -> FieldError | None:
    """The fault that stands for all rules where an object is so wrong that they cannot be asked."""
    if any(fault.type in _BLOCKING for fault in faults):
        return invalid(Path(), None, UNCHECKED)
    return None


class Rules:
    """All rules of a schema; compiled when they are first asked."""

    def __init__(self, schema: Structural) -> None:
        self._schema = schema
        self._compiled: dict[Structural, tuple[Compiled, ...]] = {}
        self._reaching = {node for node in schema.nodes() if any(each.rules for each in node.nodes())}

    def __bool__(self) -> bool:
        return bool(self._reaching)

    def check(self, value: Any, old: Any = None) -> list[FieldError]:
        """The rules that a whole object breaks; with `old`, that a change of it breaks."""
        faults: list[FieldError] = []
        for fault in self._faults(value, old, self._schema, Path(), is_root=True):
            faults.append(fault)
            if fault.detail.startswith(_SPENT):
                break
        return faults

    def _faults(
        self,
        value: Any,
        old: Any,
        schema: Structural,
        path: Path,
        *,
        is_root: bool = False,
        is_unchanged: bool = False,
    ) -> Iterator[FieldError]:
        """`is_unchanged` says it of what the value is in, where the value itself has no old one."""
        if value is None or schema not in self._reaching:
            return
        if old is not None:
            is_unchanged = bool(value == old)
        if schema.rules:
            yield from self._broken(value, old, schema, path, is_root=is_root, is_unchanged=is_unchanged)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) and schema.map_type != "atomic" else {}
            for name, child in value.items():
                found, at = schema.properties.get(name), path
                if found is not None:
                    at = path.child(name)
                elif isinstance(schema.additional, Structural):
                    found, at = schema.additional, path.key(name)
                if found is not None:
                    yield from self._faults(child, before.get(name), found, at, is_unchanged=is_unchanged)
        elif isinstance(value, list) and schema.items is not None:
            known: dict[str, Any] = {}
            if schema.list_type == "map" and isinstance(old, list):
                known = {item_key(item, schema.map_keys, schema.items): item for item in old if isinstance(item, dict)}
            for index, item in enumerate(value):
                key = item_key(item, schema.map_keys, schema.items) if known and isinstance(item, dict) else ""
                at = path.index(index)
                yield from self._faults(item, known.get(key), schema.items, at, is_unchanged=is_unchanged)

    def _broken(
        self, value: Any, old: Any, schema: Structural, path: Path, *, is_root: bool, is_unchanged: bool
    ) -> Iterator[FieldError]:
        compiled = self._compiled.get(schema)
        if compiled is None:
            compiled = self._compiled[schema] = tuple(compile_rule(rule, is_new=False) for rule in schema.rules)
        variables: dict[str, Any] | None = None
        for each in compiled:
            if each.uses_old and old is None and not each.is_optional:
                continue
            if is_unchanged and not each.uses_old:
                continue
            if variables is None:
                variables = _variables(value, old, schema, is_root=is_root)
            try:
                if each.program.evaluate(variables) is True:
                    continue
            except cel.EvaluationError as error:
                yield invalid(path, schema.type, _failure(str(error), each.rule))
                continue
            yield _fault(each, variables, value, schema, path)


def _failure(text: str, rule: Rule) -> str:
    """What is told of a rule that has no value."""
    if text.startswith("no such overload"):
        why = "call arguments did not match a supported operator, function or macro signature for rule"
        return f"'{text}': {why}: {_shown(rule)}"
    if text.startswith(cel.COST_EXCEEDED):
        return (
            f"{_SPENT}: no further validation rules will be run due to call cost exceeds limit for rule: {_shown(rule)}"
        )
    return f"{text} evaluating rule: {_shown(rule)}"


def _variables(value: Any, old: Any, schema: Structural, *, is_root: bool) -> dict[str, Any]:
    before = None if old is None else cel_value(old, schema, is_resource=is_root)
    return {
        "self": cel_value(value, schema, is_resource=is_root),
        "oldSelf": before,
        "hasOldSelf": old is not None,
        "presentOldSelf": before,
    }


def _fault(each: Compiled, variables: dict[str, Any], value: Any, schema: Structural, path: Path) -> FieldError:
    rule = each.rule
    detail = rule.message.strip() or f"failed rule: {rule.rule.strip()}"
    if each.message is not None:
        try:
            text = str(each.message.evaluate(variables)).strip()
        except cel.EvaluationError:
            text = ""
        if text and "\n" not in text and len(text.encode()) <= _MAX_MESSAGE:
            detail = text
    place = path
    if rule.field_path:
        with suppress(ValueError):
            place = path.child(str(field_path(rule.field_path, schema)[0]))
    type_ = rule.reason or "FieldValueInvalid"
    if schema.type in ("object", "array"):
        return FieldError(type_, place, detail=detail)
    return FieldError(type_, place, value, detail)


def _shown(rule: Rule) -> str:
    """How messages name a rule."""
    return (rule.message or rule.rule).strip()


def cel_value(value: Any, schema: Structural | None, *, is_resource: bool = False) -> Any:
    """A value as expressions see it."""
    if schema is None or value is None:
        return value
    if isinstance(value, dict):
        return _object(value, schema, is_resource=is_resource or schema.is_embedded)
    if isinstance(value, list):
        return [cel_value(item, schema.items) for item in value]
    if isinstance(value, bool) or schema.is_int_or_string:
        return value
    if schema.type == "number":
        return float(value)
    if schema.type == "integer" and isinstance(value, float):
        return int(value)
    if isinstance(value, str) and schema.type == "string" and schema.format:
        return _formatted(value, schema.format)
    return value


def _object(value: dict[str, Any], schema: Structural, *, is_resource: bool) -> dict[str, Any]:
    if isinstance(schema.additional, Structural):
        return {key: cel_value(child, schema.additional) for key, child in value.items()}
    if not schema.properties and not is_resource:
        return value
    seen: dict[str, Any] = {}
    if is_resource:
        seen = {key: value[key] for key in ("apiVersion", "kind") if key in value}
        metadata = value.get("metadata") or {}
        seen["metadata"] = {key: metadata[key] for key in ("name", "generateName") if key in metadata}
    for name, child in schema.properties.items():
        if name in value and not (is_resource and name in ("apiVersion", "kind", "metadata")):
            escaped = cel.escape(name)
            if escaped is not None:
                seen[escaped] = cel_value(value[name], child)
                if name in cel.KEYWORDS:
                    seen[name] = seen[escaped]
    return seen


def _formatted(text: str, format_: str) -> Any:
    try:
        match format_:
            case "date-time" | "datetime":
                return cel.timestamp(datetime.fromisoformat(text.upper()))
            case "date":
                return cel.timestamp(datetime.fromisoformat(f"{text}T00:00:00+00:00"))
            case "duration":
                return cel.duration(go_duration(text))
            case "byte":
                import base64

                return base64.b64decode(text)
    except ValueError:
        pass
    return text
