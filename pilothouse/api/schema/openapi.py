"""The built-in types as OpenAPI describes them, under upstream's names such as `io.k8s.api.core.v1.Pod`.

Descriptions are a separate file, read only here. What comes out is what upstream publishes for the served versions; it is made anew at
each call, since who asks for it keeps the encoded document, not the objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from pilothouse.api.meta import Object
from pilothouse.api.schema.defaults.constants import CONSTANTS, PUBLISHED
from pilothouse.api.schema.types import DATA, META, Catalog, catalog

_SCALARS: dict[str, Object] = {
    "s": {"type": "string"},
    "b": {"type": "boolean"},
    "i": {"type": "integer", "format": "int32"},
    "l": {"type": "integer", "format": "int64"},
    "d": {"type": "number", "format": "double"},
    "y": {"type": "string", "format": "byte"},
    "o": {"type": "object"},
    "*": {},
}
_EXTENSIONS = {
    "list": "x-kubernetes-list-type",
    "keys": "x-kubernetes-list-map-keys",
    "map": "x-kubernetes-map-type",
    "patch": "x-kubernetes-patch-strategy",
    "merge": "x-kubernetes-patch-merge-key",
}
_TIME: Object = {"type": "string", "format": "date-time"}
_SPECIAL: dict[str, dict[int, Object]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {
        2: {"type": "string"},
        3: {"oneOf": [{"type": "string"}, {"type": "number"}]},
    },
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        2: {"type": "string", "format": "int-or-string"},
        3: {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    },
    f"{META}Time": {2: _TIME, 3: _TIME},
    f"{META}MicroTime": {2: _TIME, 3: _TIME},
}
_DESCRIBED = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "A fixed-point number with a suffix: a power of two (`Ki`, `Mi`, `Gi`, …), of ten "
    "(`m`, `k`, `M`, `G`, …), or `e` and an exponent; at most three decimal places, the rest is rounded up.",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "A number of 32 bits, or a text.",
}
"""What the data does not describe."""
_NAMED_REFERENCES = (
    "ConfigMapEnvSource", "ConfigMapKeySelector", "ConfigMapProjection", "ConfigMapVolumeSource", "LocalObjectReference",
    "SecretEnvSource", "SecretKeySelector", "SecretProjection",
)  # fmt: skip
_VERSION_FIELDS = (
    "buildDate", "compiler", "gitCommit", "gitTreeState", "gitVersion", "goVersion", "major", "minor", "platform",
)  # fmt: skip
_MARKED: Mapping[tuple[str, str], str | int] = {
    ("io.k8s.api.autoscaling.v1.ScaleSpec", "replicas"): 0,
    ("io.k8s.api.core.v1.ReplicationControllerSpec", "minReadySeconds"): 0,
    (f"{META}WatchEvent", "type"): "",
    **{(f"io.k8s.api.core.v1.{kind}", "name"): "" for kind in _NAMED_REFERENCES},
    **{("io.k8s.apimachinery.pkg.version.Info", field): "" for field in _VERSION_FIELDS},
}
"""Empty values that upstream publishes as defaults of fields that need not be written."""
_ZERO = {"s": "", "b": False, "i": 0, "l": 0, "d": 0}
_PATHS = {2: "#/definitions/", 3: "#/components/schemas/"}


def definitions(version: int = 3, names: Iterable[str] | None = None) -> dict[str, Object]:
    """Schemas by definition name, for OpenAPI `version` 2 or 3; of `names` and what they refer to, or of everything."""
    known = catalog()
    chosen = sorted(known if names is None else with_references(known, names))
    described: Mapping[str, Any] = orjson.loads((DATA / "descriptions.json").read_bytes())
    return {name: _definition(name, known.packed(name), described[name], version) for name in chosen}


def with_references(known: Catalog, names: Iterable[str]) -> set[str]:
    """The names and all that they refer to, directly or through others."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        for field in known.packed(name).get("fields", {}).values():
            text = (field if isinstance(field, str) else field[0]).lstrip("[{")
            if text.startswith("#"):
                pending.append(text[1:])
    return found


def definition_name(api_version: str, kind: str) -> str | None:
    """The definition of a kind, such as `io.k8s.api.core.v1.Pod`; None for a kind that is not built in."""
    return catalog().name_of(api_version, kind)


def _definition(name: str, packed: Mapping[str, Any], described: list[Any], version: int) -> Object:
    description = described[0] or _DESCRIBED.get(name)
    schema: Object = {"description": description} if description else {}
    enums: Mapping[str, list[str]] = described[2] if len(described) > 2 else {}
    if name in _SPECIAL:
        schema |= _SPECIAL[name][version]
    elif "fields" in packed:
        schema["properties"] = {
            key: _property(name, key, field, described[1].get(key, ""), enums.get(key, ()), version)
            for key, field in packed["fields"].items()
        }
        if "required" in packed:
            schema["required"] = packed["required"]
        schema["type"] = "object"
    elif packed.get("type"):
        schema["type"] = packed["type"]
    if packed.get("kinds"):
        schema["x-kubernetes-group-version-kind"] = [
            {"group": group, "kind": kind, "version": api} for group, api, kind in packed["kinds"]
        ]
    if packed.get("map"):
        schema["x-kubernetes-map-type"] = packed["map"]
    if packed.get("unions"):
        schema["x-kubernetes-unions"] = packed["unions"]
    return schema


def _property(
    name: str, key: str, field: str | list[Any], description: str, enum: Sequence[str], version: int
) -> Object:
    text, facts = (field, {}) if isinstance(field, str) else field
    schema = _schema(text, version)
    if enum:
        # Of a list or a map, what it holds; the description lists the values, too, for those who read only that.
        holder: Object = schema.get("items") or schema.get("additionalProperties") or schema
        holder["enum"] = list(enum)
        description += "\n\nPossible enum values:" + "".join(f'\n - `"{value}"`' for value in enum)
    if description:
        schema["description"] = description
    schema |= {long: facts[short] for short, long in _EXTENSIONS.items() if short in facts}
    if version == 3:
        default = _default(name, key, text, facts)
        if default is not None:
            schema["default"] = default
        if "$ref" in schema and len(schema) > 1:
            schema = {"allOf": [{"$ref": schema.pop("$ref")}], **schema}
    return schema


def _default(name: str, key: str, text: str, facts: Mapping[str, Any]) -> Any:
    """What OpenAPI 3 calls the default: the constants that upstream publishes, or the empty value that is always written."""
    if (
        name.removeprefix("io.k8s.api.") in PUBLISHED
        and (found := CONSTANTS[name.removeprefix("io.k8s.api.")].get(key)) is not None
    ):
        return found
    if (name, key) in _MARKED:
        return _MARKED[name, key]
    if facts.get("presence") == "always":
        if text.startswith("#"):
            # What may be a number or a text has no empty value.
            return None if "oneOf" in _SPECIAL.get(text[1:], {}).get(3, ()) else {}
        return _ZERO.get(text)
    return None


def _schema(text: str, version: int) -> Object:
    if text[0] == "[":
        return {"type": "array", "items": _schema(text[1:], version)}
    if text[0] == "{":
        return {"type": "object", "additionalProperties": _schema(text[1:], version)}
    if text[0] == "#":
        return {"$ref": f"{_PATHS[version]}{text[1:]}"}
    return dict(_SCALARS[text])
