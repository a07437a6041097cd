"""An OpenAPI v3 schema of a CustomResourceDefinition as values.

A schema has two layers: the structure (`type`, `properties`, `items`, `additionalProperties` and the `x-kubernetes-` extensions), which
pruning and defaulting go by, and value validations, which may nest in `allOf`, `anyOf`, `oneOf` and `not`. Both are of one type here;
`form` checks that a schema is structural.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of `x-kubernetes-validations`."""

    rule: str
    message: str = ""
    message_expression: str = ""
    reason: str = ""
    field_path: str = ""
    optional_old_self: bool | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Structural:
    """One node of a schema."""

    type: str = ""
    format: str = ""
    nullable: bool = False
    default: Any = None
    """None: there is none; JSON's null cannot be a default."""
    properties: Mapping[str, Structural] = field(default_factory=dict)
    additional: Structural | bool | None = None
    """The schema of further properties, whether there may be any, or None if nothing is said."""
    items: Structural | None = None
    preserves_unknown: bool = False
    is_embedded: bool = False
    is_int_or_string: bool = False
    list_type: str = ""
    map_keys: tuple[str, ...] = ()
    map_type: str = ""
    rules: tuple[Rule, ...] = ()

    required: tuple[str, ...] = ()
    enum: tuple[Any, ...] | None = None
    maximum: float | None = None
    exclusive_maximum: bool = False
    minimum: float | None = None
    exclusive_minimum: bool = False
    multiple_of: float | None = None
    max_length: int | None = None
    min_length: int | None = None
    pattern: str = ""
    max_items: int | None = None
    min_items: int | None = None
    max_properties: int | None = None
    min_properties: int | None = None
    all_of: tuple[Structural, ...] = ()
    any_of: tuple[Structural, ...] = ()
    one_of: tuple[Structural, ...] = ()
    not_: Structural | None = None

    @property
    def types(self) -> tuple[str, ...]:
        """The types that a value may have; none means any."""
        if self.is_int_or_string:
            return ("integer", "string")
        return (self.type,) if self.type else ()

    def member(self, name: str) -> Structural | None:
        """The schema of a property, declared by name or by `additionalProperties`."""
        found = self.properties.get(name)
        if found is None and isinstance(self.additional, Structural):
            return self.additional
        return found

    def nodes(self) -> Iterator[Structural]:
        """This node and all below it in the structure."""
        yield self
        for child in self.properties.values():
            yield from child.nodes()
        if isinstance(self.additional, Structural):
            yield from self.additional.nodes()
        if self.items is not None:
            yield from self.items.nodes()


_SIMPLE = {
    "type": "type",
    "format": "format",
    "nullable": "nullable",
    "default": "default",
    "x-kubernetes-preserve-unknown-fields": "preserves_unknown",
    "x-kubernetes-embedded-resource": "is_embedded",
    "x-kubernetes-int-or-string": "is_int_or_string",
    "x-kubernetes-list-type": "list_type",
    "x-kubernetes-map-type": "map_type",
    "maximum": "maximum",
    "exclusiveMaximum": "exclusive_maximum",
    "minimum": "minimum",
    "exclusiveMinimum": "exclusive_minimum",
    "multipleOf": "multiple_of",
    "maxLength": "max_length",
    "minLength": "min_length",
    "pattern": "pattern",
    "maxItems": "max_items",
    "minItems": "min_items",
    "maxProperties": "max_properties",
    "minProperties": "min_properties",
}
_TUPLES = {"x-kubernetes-list-map-keys": "map_keys", "required": "required", "enum": "enum"}
_JUNCTORS = {"allOf": "all_of", "anyOf": "any_of", "oneOf": "one_of"}


def parse(source: Mapping[str, Any]) -> Structural:
    """The schema that JSONSchemaProps describe, whose types the loader has checked (`load_nested` those inside `items`)."""
    values: dict[str, Any] = {name: source[key] for key, name in _SIMPLE.items() if source.get(key) is not None}
    values |= {name: tuple(source[key]) for key, name in _TUPLES.items() if source.get(key)}
    values |= {name: tuple(parse(each) for each in source[key]) for key, name in _JUNCTORS.items() if source.get(key)}
    if source.get("properties"):
        values["properties"] = {key: parse(child) for key, child in source["properties"].items()}
    additional = source.get("additionalProperties")
    if additional is not None:
        values["additional"] = parse(additional) if isinstance(additional, Mapping) else bool(additional)
    if isinstance(source.get("items"), Mapping):
        values["items"] = parse(source["items"])
    if isinstance(source.get("not"), Mapping):
        values["not_"] = parse(source["not"])
    if source.get("x-kubernetes-validations"):
        values["rules"] = tuple(rule_of(rule) for rule in source["x-kubernetes-validations"])
    return Structural(**values)


def rule_of(source: Mapping[str, Any]) -> Rule:
    """A rule as it is written."""
    return Rule(
        source.get("rule", ""),
        source.get("message", ""),
        source.get("messageExpression", ""),
        source.get("reason") or "",
        source.get("fieldPath", ""),
        source.get("optionalOldSelf"),
    )
