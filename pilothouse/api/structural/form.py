"""Is a schema one that can be served: of the types that are understood, structural, with defaults that fit it?

Works on JSONSchemaProps as they are written, since what is forbidden is not part of a `Structural`.
Source: apiextensions-apiserver `pkg/apis/apiextensions/validation/validation.go`, `pkg/apiserver/schema/{validation,complete}.go`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pilothouse.api.path import FieldError, Path, field_forbidden, invalid, not_supported, required
from pilothouse.api.structural import pattern
from pilothouse.api.structural.default_faults import check_defaults
from pilothouse.api.structural.field_path import field_path
from pilothouse.api.structural.schema import parse

Schema = Mapping[str, Any]
TYPES = ("array", "boolean", "integer", "number", "object", "string")
META_FIELDS = ("apiVersion", "kind", "metadata")
_PRESERVES, _EMBEDDED = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"
_INT_OR_STRING, _RULES = "x-kubernetes-int-or-string", "x-kubernetes-validations"
_LIST_TYPE, _MAP_TYPE, _MAP_KEYS = "x-kubernetes-list-type", "x-kubernetes-map-type", "x-kubernetes-list-map-keys"
_JUNCTORS = ("allOf", "anyOf", "oneOf")
_INT_OR_STRING_FORM = [{"type": "integer"}, {"type": "string"}]
_UNSUPPORTED = {
    "id": "id is not supported",
    "additionalItems": "additionalItems is not supported",
    "patternProperties": "patternProperties is not supported",
    "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported",
    "$ref": "$ref is not supported",
}
_FORBIDDEN_WHEN_NESTED = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    _PRESERVES: "must be false to be structural",
    _EMBEDDED: "must be false to be structural",
    _INT_OR_STRING: "must be false to be structural",
    _MAP_KEYS: "must be empty to be structural",
    _LIST_TYPE: "must be undefined to be structural",
    _MAP_TYPE: "must be undefined to be structural",
    _RULES: "must be empty to be structural",
}
# fmt: off
_AT_ROOT_WITH_STATUS = frozenset((
    "description", "type", "format", "title", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength",
    "pattern", "maxItems", "minItems", "uniqueItems", "multipleOf", "required", "items", "properties", "externalDocs", "example",
    _PRESERVES, _RULES,
))
# fmt: on
_ALLOWED_TEXT = (
    "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems "
    "UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]"
)


def check_schema(schema: Schema, path: Path, *, has_status: bool, is_unchanged: bool = False) -> list[FieldError]:
    """The faults of a whole schema, which stands at `path`; of one that `is_unchanged` since it was accepted, less is asked."""
    faults: list[FieldError] = []
    if has_status:
        faults += _root_faults(schema, path)
    if schema.get("nullable"):
        faults.append(field_forbidden(path.child("nullable"), "nullable cannot be true at the root"))
    found = [*_invariants(schema, "root", path), *_completeness(schema, schema, path, path)]
    faults += sorted({str(fault): fault for fault in found}.values(), key=str)
    faults += _Standard().faults(schema, path, is_root=True)
    if not faults:
        structural = parse(schema)
        faults += check_defaults(structural, path)
        if not faults and any(node.rules for node in structural.nodes()):
            # Imported here: the library takes 25 ms and 6 MB that definitions without rules need not spend.
            from pilothouse.api.structural.rule_faults import check_rules

            faults += check_rules(structural, schema, path, is_unchanged=is_unchanged)
    return faults


def _root_faults(schema: Schema, path: Path) -> Iterator[FieldError]:
    """With a status subresource the status is validated by itself, so that the root may say nothing that needs the whole."""
    if schema.get("type") and schema["type"] != "object":
        text = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        yield invalid(path.child("type"), schema["type"], text)
    elif any(key not in _AT_ROOT_WITH_STATUS and key != "nullable" for key in schema):
        text = f"only {_ALLOWED_TEXT} fields are allowed at the root of the schema if the status subresource is enabled"
        yield invalid(path, schema, text)


# Structure


def _invariants(schema: Schema, level: str, path: Path) -> Iterator[FieldError]:
    type_ = schema.get("type", "")
    if type_ == "array" and schema.get("items") is None:
        yield required(path.child("items"), "must be specified")
    if isinstance(schema.get("items"), Mapping):
        yield from _invariants(schema["items"], "item", path.child("items"))
    for name, child in (schema.get("properties") or {}).items():
        yield from _invariants(child, "field", path.child("properties").key(name))
    additional = schema.get("additionalProperties")
    if additional is not None:
        if level == "root":
            yield field_forbidden(path.child("additionalProperties"), "must not be used at the root")
        if isinstance(additional, Mapping):
            yield from _invariants(additional, "field", path.child("additionalProperties"))
    if schema.get(_INT_OR_STRING):
        for key in (_PRESERVES, _EMBEDDED):
            if schema.get(key):
                yield invalid(path.child(key), True, "must be false if x-kubernetes-int-or-string is true")
    yield from _value_validation(
        schema, level, path, skip_any_of=_is_int_or_string(schema), skip_first_all_of=_is_int_or_string_all_of(schema)
    )
    yield from _type_invariants(schema, level, path)
    yield from _metadata_invariants(schema, level, path)


def _type_invariants(schema: Schema, level: str, path: Path) -> Iterator[FieldError]:
    type_ = schema.get("type", "")
    if schema.get(_EMBEDDED):
        text = "must be object if x-kubernetes-embedded-resource is true"
        if not type_:
            yield required(path.child("type"), text)
        elif type_ != "object":
            yield invalid(path.child("type"), type_, text)
        if schema.get("additionalProperties") is not None:
            text = "must not be used if x-kubernetes-embedded-resource is set"
            yield field_forbidden(path.child("additionalProperties"), text)
        if not schema.get(_PRESERVES) and not schema.get("properties"):
            text = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
            yield required(path.child("properties"), text)
    elif not type_ and not schema.get(_INT_OR_STRING) and not schema.get(_PRESERVES):
        where = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}
        yield required(path.child("type"), f"must not be empty {where[level]}")
    if level == "root" and type_ and type_ != "object":
        yield invalid(path.child("type"), type_, "must be object at the root")


def _metadata_invariants(schema: Schema, level: str, path: Path) -> Iterator[FieldError]:
    if level != "root" and not schema.get(_EMBEDDED):
        return
    properties = schema.get("properties") or {}
    for name in ("kind", "apiVersion"):
        if name in properties and properties[name].get("type") != "string":
            place = path.child("properties").key(name).child("type")
            yield invalid(place, properties[name].get("type", ""), "must be string")
    metadata = properties.get("metadata")
    if metadata is None:
        return
    place = path.child("properties").key("metadata")
    if metadata.get("type") != "object":
        yield invalid(place.child("type"), metadata.get("type", ""), "must be object")
    if level == "root":
        said = set(metadata) - {"type", "default", "properties"}
        if not set(metadata.get("properties") or ()) <= {"name", "generateName"}:
            said.add("properties")
        if said:
            text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            yield field_forbidden(place, text)


def _is_int_or_string(schema: Schema) -> bool:
    return bool(schema.get("anyOf") == _INT_OR_STRING_FORM)


def _is_int_or_string_all_of(schema: Schema) -> bool:
    all_of: Sequence[Schema] = schema.get("allOf") or []
    return bool(all_of) and _is_int_or_string(all_of[0])


def _value_validation(
    schema: Schema, level: str, path: Path, *, skip_any_of: bool = False, skip_first_all_of: bool = False
) -> Iterator[FieldError]:
    for key in _JUNCTORS:
        if key == "anyOf" and skip_any_of:
            continue
        for index, nested in enumerate(schema.get(key) or ()):
            skip = key == "allOf" and index == 0 and skip_first_all_of
            yield from _nested(nested, level, path.child(key).index(index), skip_any_of=skip)
    if isinstance(schema.get("not"), Mapping):
        yield from _nested(schema["not"], level, path.child("not"))
    if schema.get("pattern"):
        try:
            pattern.compiled(schema["pattern"])
        except ValueError as error:
            text = f"must be a valid regular expression, but isn't: {error}"
            yield invalid(path.child("pattern"), schema["pattern"], text)


def _nested(schema: Schema, level: str, path: Path, *, skip_any_of: bool = False) -> Iterator[FieldError]:
    yield from _value_validation(schema, level, path, skip_any_of=skip_any_of)
    if isinstance(schema.get("items"), Mapping):
        yield from _nested(schema["items"], level, path.child("items"))
    for name, child in (schema.get("properties") or {}).items():
        yield from _nested(child, "field", path.child("properties").key(name))
    for key, text in _FORBIDDEN_WHEN_NESTED.items():
        if schema.get(key) not in (None, False, "", [], {}) or (
            key in ("additionalProperties", "default") and key in schema
        ):
            yield field_forbidden(path.child(key), text)
    if "metadata" in (schema.get("properties") or {}):
        yield field_forbidden(path.child("properties").key("metadata"), "must not be specified in a nested context")


def _completeness(nested: Schema, schema: Schema | None, path: Path, nested_path: Path) -> Iterator[FieldError]:
    """What value validations speak of must be part of the structure."""
    for key in _JUNCTORS:
        for index, each in enumerate(nested.get(key) or ()):
            yield from _nested_completeness(each, schema, path, nested_path.child(key).index(index))
    if isinstance(nested.get("not"), Mapping):
        yield from _nested_completeness(nested["not"], schema, path, nested_path.child("not"))


def _nested_completeness(nested: Schema, schema: Schema | None, path: Path, nested_path: Path) -> Iterator[FieldError]:
    if schema is None:
        yield required(path, f"because it is defined in {nested_path}")
        return
    yield from _completeness(nested, schema, path, nested_path)
    if isinstance(nested.get("items"), Mapping):
        items = schema.get("items")
        found = items if isinstance(items, Mapping) else None
        yield from _nested_completeness(nested["items"], found, path.child("items"), nested_path.child("items"))
    for name, child in (nested.get("properties") or {}).items():
        known = (schema.get("properties") or {}).get(name)
        place, nested_place = path.child("properties").key(name), nested_path.child("properties").key(name)
        yield from _nested_completeness(child, known, place, nested_place)


# Standard


@dataclass(frozen=True, slots=True)
class _Standard:
    """What holds at every node, nested or not."""

    no_defaults: str | None = None
    in_metadata: bool = False

    def faults(self, schema: Schema, path: Path, *, is_root: bool = False) -> Iterator[FieldError]:
        yield from self._own(schema, path)
        if schema.get("uniqueItems"):
            text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            yield field_forbidden(path.child("uniqueItems"), text)
        additional = schema.get("additionalProperties")
        if additional is not None:
            if schema.get("properties") and additional is not True:
                text = "additionalProperties and properties are mutual exclusive"
                yield field_forbidden(path.child("additionalProperties"), text)
            if isinstance(additional, Mapping):
                inner = self
                if self.in_metadata:
                    inner = replace(self, no_defaults=" inside additionalProperties applying to object metadata")
                yield from inner.faults(additional, path.child("additionalProperties"))
        for name, child in (schema.get("properties") or {}).items():
            inner = self
            if (is_root or schema.get(_EMBEDDED)) and name in META_FIELDS:
                inner = replace(self, in_metadata=True)
                if is_root:
                    inner = replace(inner, no_defaults=f" in top-level {name}")
            yield from inner.faults(child, path.child("properties").key(name))
        if isinstance(schema.get("not"), Mapping):
            yield from self.faults(schema["not"], path.child("not"))
        for key in _JUNCTORS:
            for index, child in enumerate(schema.get(key) or ()):
                yield from self.faults(child, path.child(key).index(index))
        if isinstance(schema.get("items"), Mapping):
            yield from self.faults(schema["items"], path.child("items"))
        yield from _extension_faults(schema, path)
        yield from _map_faults(schema, path)
        yield from _rule_faults(schema, path.child(_RULES))

    def _own(self, schema: Schema, path: Path) -> Iterator[FieldError]:
        type_ = schema.get("type", "")
        if type_ and type_ not in TYPES:
            yield not_supported(path.child("type"), type_, TYPES)
        if schema.get("default") is not None and self.no_defaults is not None:
            yield field_forbidden(path.child("default"), f"must not be set{self.no_defaults}")
        for key, text in _UNSUPPORTED.items():
            if schema.get(key):
                yield field_forbidden(path.child(key), text)
        if type_ == "null":
            yield field_forbidden(path.child("type"), "type cannot be set to null, use nullable as an alternative")
        if isinstance(schema.get("items"), Sequence):
            yield field_forbidden(path.child("items"), "items must be a schema object and not an array")
        if self.in_metadata and schema.get(_EMBEDDED):
            yield field_forbidden(path.child(_EMBEDDED), "must not be used inside of resource meta")


def _extension_faults(schema: Schema, path: Path) -> Iterator[FieldError]:
    type_, list_type, map_type = schema.get("type", ""), schema.get(_LIST_TYPE), schema.get(_MAP_TYPE)
    items = schema.get("items") if isinstance(schema.get("items"), Mapping) else None
    if schema.get(_PRESERVES) is False:
        yield invalid(path.child(_PRESERVES), False, "must be true or undefined")
    if map_type is not None:
        if type_ != "object":
            text = "must be object if x-kubernetes-map-type is specified"
            yield invalid(path.child("type"), type_, text) if type_ else required(path.child("type"), text)
        if map_type not in ("atomic", "granular"):
            yield not_supported(path.child(_MAP_TYPE), map_type, ("atomic", "granular"))
    if list_type is None:
        return
    if type_ != "array":
        text = "must be array if x-kubernetes-list-type is specified"
        yield invalid(path.child("type"), type_, text) if type_ else required(path.child("type"), text)
    elif list_type == "set" and items is not None:
        text = "must be atomic as item of a list with x-kubernetes-list-type=set"
        inner = items.get(_LIST_TYPE)
        if items.get("type") == "array" and inner not in (None, "atomic"):
            yield invalid(path.child("items", _LIST_TYPE), inner, text)
        elif items.get("type") == "object" and items.get(_MAP_TYPE) != "atomic":
            yield invalid(path.child("items", _MAP_TYPE), inner, text)
    if list_type not in ("atomic", "set", "map"):
        yield not_supported(path.child(_LIST_TYPE), list_type, ("atomic", "set", "map"))


def _map_faults(schema: Schema, path: Path) -> Iterator[FieldError]:
    keys, list_type = schema.get(_MAP_KEYS) or (), schema.get(_LIST_TYPE)
    items = schema.get("items") if isinstance(schema.get("items"), Mapping) else None
    if keys and list_type != "map":
        text = "must be map if x-kubernetes-list-map-keys is non-empty"
        place = path.child(_LIST_TYPE)
        yield required(place, text) if list_type is None else invalid(place, list_type, text)
    yield from _map_list_faults(keys, items, path) if list_type == "map" else ()
    if list_type in ("set", "map") and items is not None and items.get("nullable"):
        yield field_forbidden(path.child("items", "nullable"), f"cannot be nullable when {_LIST_TYPE} is {list_type}")
    if list_type == "map" and items is not None:
        yield from _key_faults(keys, items, path)


def _map_list_faults(keys: Sequence[str], items: Schema | None, path: Path) -> Iterator[FieldError]:
    if not keys:
        yield required(path.child(_MAP_KEYS), "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        yield required(path.child("items"), "must have a schema if x-kubernetes-list-type is map")
        return
    if items.get("type") != "object":
        text = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid(path.child("items", "type"), items.get("type", ""), text)
        return
    properties = items.get("properties") or {}
    for index, key in enumerate(keys):
        found = properties.get(key)
        if found is None:
            yield invalid(path.child(_MAP_KEYS), keys, "entries must all be names of item properties")
        elif found.get("type") in ("array", "object"):
            text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid(path.child("items", "properties").key(key).child("type"), items["type"], text)
        if key in keys[:index]:
            yield invalid(path.child(_MAP_KEYS), keys, "must not contain duplicate entries")


def _key_faults(keys: Sequence[str], items: Schema, path: Path) -> Iterator[FieldError]:
    for key in keys:
        place = path.child("items", "properties").key(key)
        found = (items.get("properties") or {}).get(key)
        if found is None:
            continue
        if key not in (items.get("required") or ()) and found.get("default") is None:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(place.child("default"), text)
        if found.get("nullable"):
            text = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            yield field_forbidden(place.child("nullable"), text)


_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")


def _rule_faults(schema: Schema, path: Path) -> Iterator[FieldError]:
    """What is wrong with rules as they are written; `rule_faults` looks into their expressions."""
    for index, rule in enumerate(schema.get(_RULES) or ()):
        place = path.index(index)
        text, message = rule.get("rule", "").strip(), rule.get("message", "")
        if not text:
            yield required(place.child("rule"), "rule is not specified")
        elif message and not message.strip():
            yield invalid(place.child("message"), message, "must be non-empty if specified")
        elif _has_line_break(message.strip()):
            yield invalid(place.child("message"), message, "must not contain line breaks")
        elif _has_line_break(text) and not message:
            yield required(place.child("message"), "message must be specified if rule contains line breaks")
        expression = rule.get("messageExpression", "")
        if expression and not expression.strip():
            yield required(place.child("messageExpression"), "messageExpression must be non-empty if specified")
        if rule.get("reason") is not None and rule["reason"] not in _REASONS:
            yield not_supported(place.child("reason"), rule["reason"], _REASONS)
        where = rule.get("fieldPath", "")
        if where and not where.strip():
            yield invalid(place.child("fieldPath"), where, "must be non-empty if specified")
        if _has_line_break(where):
            yield invalid(place.child("fieldPath"), where, "must not contain line breaks")
        if where and not _leads_somewhere(where, schema):
            yield invalid(place.child("fieldPath"), where, "must be a valid path")


def _leads_somewhere(path: str, schema: Schema) -> bool:
    try:
        field_path(path, parse(schema))
    except ValueError:
        return False
    return True


def _has_line_break(text: str) -> bool:
    return "\n" in text or "\r" in text
