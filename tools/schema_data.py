"""Packs what JSON schema says about the Kubernetes API into the data files that Pilothouse reads.

The definitions come from the `kubernetes-validate` package (a build requirement; its version names the API's), and
`tools/presence.txt`, `tools/enums.txt` and `tools/go_names.txt` add what it does not say. Alpha and beta versions are left out: they are
not served.
Written are, under `pilothouse/api/schema/data/`:

- `structure.json`: `{"definitions": {NAME: {"fields": {FIELD: TYPE | [TYPE, FACTS]}, …}}}`. TYPE is a short text, read by
  `pilothouse.api.schema.types`: `s` string, `b` boolean, `i`/`l` 32- and 64-bit integer, `d` number, `y` base64 bytes,
  `*` any JSON, `o` any object, `[T` list, `{T` map, `#NAME` another definition.
- `descriptions.json`: `{NAME: [TEXT, {FIELD: TEXT}, {FIELD: [VALUE, …]}]}`, read only to explain the API; the last part may be missing.
- `go_names.json`: `{NAME: {FIELD: [EMBEDDED, …, TYPE]}}`, read only to say that a value has the wrong type.

Runs as a hatchling build hook, for wheels and editable installs; `python tools/schema_data.py` does the same for the source tree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

API_VERSION = "v1.36.0"
SCALARS = {
    ("string", None): "s",
    ("string", "byte"): "y",
    ("boolean", None): "b",
    ("integer", "int32"): "i",
    ("integer", "int64"): "l",
    ("integer", None): "l",
    ("number", "double"): "d",
    ("number", None): "d",
    ("object", None): "o",
}
FACTS = {
    "x-kubernetes-list-type": "list",
    "x-kubernetes-list-map-keys": "keys",
    "x-kubernetes-map-type": "map",
    "x-kubernetes-patch-strategy": "patch",
    "x-kubernetes-patch-merge-key": "merge",
}
UNSERVED = re.compile(r"\.v\d+(alpha|beta)\d+\.")

Json = dict[str, Any]


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Writes the data files before the package is collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name == "wheel":
            write(Path(self.root))


def write(root: Path) -> None:
    """Writes the files under `root`, the top of the source tree."""
    definitions = {name: found for name, found in source_definitions().items() if not UNSERVED.search(f".{name}")}
    presence = read_presence((root / "tools" / "presence.txt").read_text())
    enums = read_enums((root / "tools" / "enums.txt").read_text())
    data = root / "pilothouse" / "api" / "schema" / "data"
    data.mkdir(parents=True, exist_ok=True)
    structure = {name: pack(found, presence.get(name, {})) for name, found in sorted(definitions.items())}
    replace(data / "structure.json", {"definitions": structure})
    replace(data / "go_names.json", read_go_names((root / "tools" / "go_names.txt").read_text()))
    replace(
        data / "descriptions.json",
        {name: describe(found, enums.get(name, {})) for name, found in sorted(definitions.items())},
    )


def replace(path: Path, content: Json) -> None:
    """Replaces a file in one step, so that a reader beside the build sees the old or the new one."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, separators=(",", ":"), ensure_ascii=False), encoding="utf-8")
    draft.replace(path)


def source_definitions() -> Json:
    """The definitions by name, as `kubernetes-validate` has them."""
    spec = find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise SystemExit("kubernetes-validate is not installed: it is a build requirement of Pilothouse")
    schemas = Path(spec.origin).parent / "kubernetes-json-schema" / f"{API_VERSION}-local" / "_definitions.json"
    definitions: Json = json.loads(schemas.read_text(encoding="utf-8"))["$defs"]
    return definitions


def lines_of(text: str) -> Iterator[tuple[str, str, str]]:
    """Of every line of a table: the package under whose heading it stands, what is before its colon, and what follows."""
    package = ""
    for line in text.splitlines():
        if line.startswith("["):
            package = line.strip("[]")
        elif line and not line.startswith("#"):
            head, _, rest = line.partition(": ")
            yield package, head, rest


def read_presence(text: str) -> dict[str, dict[str, str]]:
    """Which fields of a definition keep their empty value (`keep`) or are always written, as empty (`always`) or as null (`null`);
    `given` is kept only until the object has been judged."""
    presence: dict[str, dict[str, str]] = {}
    for package, kind, fields in lines_of(text):
        presence[f"{package}.{kind}"] = {
            field.lstrip("+?="): {"+": "always", "?": "null", "=": "given"}.get(field[0], "keep")
            for field in fields.split()
        }
    return presence


def read_enums(text: str) -> dict[str, dict[str, list[str]]]:
    """The values that fields may have, by definition and field."""
    enums: dict[str, dict[str, list[str]]] = {}
    for package, place, values in lines_of(text):
        kind, _, field = place.partition(".")
        enums.setdefault(f"{package}.{kind}", {})[field] = [value.strip('"') for value in values.split(" | ")]
    return enums


def read_go_names(text: str) -> dict[str, dict[str, list[str]]]:
    """What Go calls fields' types, and by which structs fields are embedded."""
    names: dict[str, dict[str, list[str]]] = {}
    for package, kind, fields in lines_of(text):
        for field in fields.split():
            place, _, type_ = field.partition(":")
            *embedded, name = place.split(".")
            names.setdefault(f"{package}.{kind}", {})[name] = [*embedded, type_]
    return names


def pack(definition: Json, presence: dict[str, str]) -> Json:
    """The structure of one definition."""
    packed: Json = {}
    if "properties" in definition:
        packed["fields"] = {
            name: pack_field(field, presence.get(name, "")) for name, field in definition["properties"].items()
        }
    else:
        packed["type"] = plain_type(definition)
    if definition.get("required"):
        packed["required"] = definition["required"]
    if definition.get("x-kubernetes-map-type"):
        packed["map"] = definition["x-kubernetes-map-type"]
    if definition.get("x-kubernetes-unions"):
        packed["unions"] = definition["x-kubernetes-unions"]
    if kinds := definition.get("x-kubernetes-group-version-kind"):
        packed["kinds"] = [
            [kind["group"], kind["version"], kind["kind"]] for kind in kinds if re.fullmatch(r"v\d+", kind["version"])
        ]
    return packed


def pack_field(field: Json, presence: str) -> str | list[Any]:
    facts = {short: field[long] for long, short in FACTS.items() if long in field}
    if presence:
        facts["presence"] = presence
    packed = type_of(field)
    return [packed, facts] if facts else packed


def type_of(field: Json) -> str:
    """The short text of a field's type."""
    if "$ref" in field:
        return "#" + str(field["$ref"]).rpartition("/")[2]
    plain = plain_type(field)
    if plain == "array":
        return "[" + type_of(field["items"])
    if plain == "object":
        values = field.get("additionalProperties")
        return "{" + type_of(values) if values else "o"
    return SCALARS[plain, field.get("format")] if plain else "*"


def plain_type(schema: Json) -> str:
    """`type` without the `null` that the package adds; empty where any JSON value may stand."""
    found = schema.get("type", ())
    names = [found] if isinstance(found, str) else [name for name in found if name != "null"]
    return names[0] if names else ""


def describe(definition: Json, enums: dict[str, list[str]]) -> list[Any]:
    """Its description, those of its fields, and what its fields may say, if that is anything."""
    fields = definition.get("properties", {})
    described = [
        definition.get("description", ""),
        {name: field["description"] for name, field in fields.items() if "description" in field},
    ]
    return [*described, enums] if enums else described


if __name__ == "__main__":
    write(Path(__file__).resolve().parent.parent)
