"""Are the rules of a definition ones that can be served: compiled, of the right types, and not too expensive?

Each rule is compiled twice: with values of any type, as it will run, and with the types that the schema gives, which finds fields that
are not there. Its worst cost is counted for as many values as there can be.
Source: apiextensions-apiserver `pkg/apis/apiextensions/validation/{validation,cel_validation}.go`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api.cel import ast
from pilothouse.api.cel.cost import estimate
from pilothouse.api.cel.cost_terms import LIMIT
from pilothouse.api.cel.declared import Declared, declare
from pilothouse.api.cel.declared_environment import DeclaredEnvironment
from pilothouse.api.cel.environment import CompileError, Environment, Program
from pilothouse.api.path import FieldError, Path, Shown, field_forbidden, invalid, shown_struct
from pilothouse.api.structural.rules import compile_message, compile_rule
from pilothouse.api.structural.schema import Rule, Structural

COST_LIMIT = 10_000_000
"""Of one rule, for all the values that it may be asked of."""
TOTAL_COST_LIMIT = 100_000_000
"""Of all rules of a version."""
_MOST_EXPENSIVE = 4
_ADVICE = "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared"
_KEY = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of a schema, and what it was parsed from."""

    schema: Structural
    source: Mapping[str, Any]
    path: Path
    is_resource: bool
    count: int | None = 1
    """How many values of it there can be in an object; None for any number."""
    uncorrelated: Path | None = None
    """The list or map because of which a value has no old one."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A node that has rules."""

    node: _Node
    declared: Declared
    variable: str
    count: int
    """How many values there can be at most."""


@dataclass(slots=True)
class _Total:
    cost: int = 0
    by_rule: list[tuple[int, Path]] = field(default_factory=list)

    def add(self, path: Path, cost: int) -> None:
        self.cost = min(self.cost + cost, LIMIT)
        if cost >= TOTAL_COST_LIMIT // 100:
            self.by_rule.append((cost, path))


def check_rules(schema: Structural, source: Mapping[str, Any], path: Path, *, is_unchanged: bool) -> list[FieldError]:
    """The faults of all rules of a structural schema, which stands at `path`; `source` is what it was parsed from.

    A rule of a schema that `is_unchanged` may cost what it likes.
    """
    places: list[_Place] = []
    for node in _nodes(_Node(schema, source, path, is_resource=True)):
        declared = declare(node.schema, is_resource=node.is_resource) if node.schema.rules else None
        if declared is not None:
            count = declared.max_count if node.count is None else node.count
            places.append(_Place(node, declared, f"s{len(places)}", count))
    if not places:
        return []
    environment = DeclaredEnvironment({place.variable: place.declared for place in places})
    total = _Total()
    faults: list[FieldError] = []
    for place in places:
        for index, rule in enumerate(place.node.schema.rules):
            at = place.node.path.child(_KEY).index(index)
            written = place.node.source[_KEY][index]
            faults += _rule_faults(rule, written, place, at, environment, total, is_unchanged)
    return [*faults, *_total_faults(total, path)]


def _nodes(node: _Node) -> Iterator[_Node]:
    """A node and all below it."""
    yield node
    schema, source, path, lost = node.schema, node.source, node.path, node.uncorrelated
    count = None if node.count is None else _times(node.count, _max_elements(schema))
    for name, child in schema.properties.items():
        at = path.child("properties").key(name)
        without_old = lost if schema.map_type in ("", "granular") else lost or path
        yield from _nodes(_Node(child, source["properties"][name], at, child.is_embedded, count, without_old))
    if isinstance(schema.additional, Structural):
        values, at = schema.additional, path.child("additionalProperties")
        yield from _nodes(_Node(values, source["additionalProperties"], at, values.is_embedded, count, lost))
    if schema.items is not None:
        without_old = lost if schema.list_type == "map" else lost or path
        at = path.child("items")
        yield from _nodes(_Node(schema.items, source["items"], at, schema.items.is_embedded, count, without_old))


def _max_elements(schema: Structural) -> int | None:
    if schema.type == "object" and schema.additional is not None:
        return None if schema.max_properties is None else max(schema.max_properties, 0)
    if schema.type == "array":
        return None if schema.max_items is None else max(schema.max_items, 0)
    return 1


def _times(one: int, two: int | None) -> int | None:
    return None if two is None else min(one * two, LIMIT)


def _rule_faults(
    rule: Rule,
    written: Mapping[str, Any],
    place: _Place,
    path: Path,
    environment: Environment,
    total: _Total,
    is_unchanged: bool,
) -> Iterator[FieldError]:
    if not rule.rule.strip():
        return
    uses_old = False
    tree: ast.Node | None = None
    try:
        compiled = compile_rule(Rule(rule.rule, optional_old_self=rule.optional_old_self))
        tree = _checked(rule.rule, rule, compiled.program, place, environment)
        if tree.type.name not in ("bool", "dyn"):
            raise CompileError("cel expression must evaluate to a bool")
        uses_old = compiled.uses_old
    except CompileError as error:
        tree = None
        yield invalid(path.child("rule"), _shown(written), str(error))
    if tree is not None:
        cost = min(estimate(tree, place.declared.size_at).most * place.count, LIMIT)
        if cost > COST_LIMIT and not is_unchanged:
            yield field_forbidden(path.child("rule"), _too_expensive("estimated rule cost", cost, COST_LIMIT))
        total.add(path.child("rule"), cost)
        if rule.message_expression.strip():
            yield from _message_faults(rule, written, place, path, environment, total, is_unchanged)
    if uses_old and place.node.uncorrelated is not None:
        text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.node.uncorrelated}"
        yield invalid(path.child("rule"), rule.rule, text)
    elif not uses_old and rule.optional_old_self is not None:
        text = "may not be set if oldSelf is not used in rule"
        yield invalid(path.child("optionalOldSelf"), rule.optional_old_self, text)


def _message_faults(
    rule: Rule,
    written: Mapping[str, Any],
    place: _Place,
    path: Path,
    environment: Environment,
    total: _Total,
    is_unchanged: bool,
) -> Iterator[FieldError]:
    at = path.child("messageExpression")
    try:
        tree = _checked(rule.message_expression, rule, compile_message(rule), place, environment)
        if tree.type.name not in ("string", "dyn"):
            raise CompileError("messageExpression must evaluate to a string")
    except CompileError as error:
        text = str(error)
        start = "" if text.startswith("messageExpression") else "messageExpression "
        yield invalid(at, _shown(written), f"{start}{text}")
        return
    cost = estimate(tree, place.declared.size_at).most
    if cost > COST_LIMIT and not is_unchanged:
        yield field_forbidden(at, _too_expensive("estimated messageExpression cost", cost, COST_LIMIT))
    total.add(at, cost)


def _shown(written: Mapping[str, Any]) -> Shown:
    """A rule as upstream's messages show it."""
    return shown_struct(
        {
            "Rule": written.get("rule", ""),
            "Message": written.get("message", ""),
            "MessageExpression": written.get("messageExpression", ""),
            "Reason": written.get("reason"),
            "FieldPath": written.get("fieldPath", ""),
            "OptionalOldSelf": written.get("optionalOldSelf"),
        }
    )


def _checked(text: str, rule: Rule, program: Program, place: _Place, environment: Environment) -> ast.Node:
    """The tree of an expression in the types of its place. Raises CompileError."""
    old = f"optional.of({place.variable})" if rule.optional_old_self else place.variable
    try:
        return environment.bound(text, {"self": place.variable, "oldSelf": old})
    except CompileError as error:
        if not error.mistakes or not all(each.is_none for each in error.mistakes):
            raise
        return ast.parse(program.serialized())


def _total_faults(total: _Total, path: Path) -> Iterator[FieldError]:
    if total.cost <= TOTAL_COST_LIMIT:
        return
    expensive = sorted(total.by_rule, key=lambda each: -each[0])
    for _, at in expensive[:_MOST_EXPENSIVE]:
        text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        yield field_forbidden(at, text)
    name = f"{_KEY} estimated rule cost total for entire OpenAPIv3 schema"
    yield field_forbidden(path, _too_expensive(name, total.cost, TOTAL_COST_LIMIT))


def _too_expensive(name: str, cost: int, limit: int) -> str:
    times = cost / limit
    factor = "more than 100x" if times > 100 else f"{times:f}x" if times < 1.5 else f"{times:.1f}x"
    return f"{name} exceeds budget by factor of {factor} ({_ADVICE})"
