"""CustomResourceDefinition. Source: apiextensions-apiserver `pkg/apis/apiextensions/validation/validation.go`."""

from __future__ import annotations

import ssl
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api import names
from pilothouse.api.path import (
    FieldError,
    Path,
    duplicate,
    field_forbidden,
    invalid,
    not_supported,
    required,
    too_many,
)
from pilothouse.api.structural import approval, formats
from pilothouse.api.structural.form import check_schema
from pilothouse.api.validate.webhook import check_client_config

Part = Mapping[str, Any]
MAX_SELECTABLE_FIELDS = 8
_SPEC = Path("spec")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("binary", "byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_SELECTABLE_TYPES = ("string", "boolean", "integer")
_REVIEW_VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What may be wrong because it was wrong before, or because nothing depends on it yet."""

    bad_bundle: bool = True
    unknown_reviews: bool = False
    many_selectable: frozenset[str] = frozenset()
    """Versions."""

    @classmethod
    def by(cls, new: Part, old: Part) -> _Allowed:
        """What an update may keep."""
        webhook = (old["spec"].get("conversion") or {}).get("webhook") or {}
        bundle = (webhook.get("clientConfig") or {}).get("caBundle")
        reviews = webhook.get("conversionReviewVersions") or ()
        before = {version.get("name"): version for version in old["spec"].get("versions") or ()}
        many = (
            version["name"]
            for version in new["spec"].get("versions") or ()
            if len(version.get("selectableFields") or ()) > MAX_SELECTABLE_FIELDS
            and version["selectableFields"] == before.get(version.get("name"), {}).get("selectableFields")
        )
        return cls(
            not _is_established(old) or bool(bundle and bundle_problem(bundle)),
            bool(reviews) and not any(version in _REVIEW_VERSIONS for version in reviews),
            frozenset(many),
        )


def validate(definition: Part) -> list[FieldError]:
    """The faults of a new definition."""
    allowed = _Allowed()
    faults = [*_name_faults(definition), *_spec_faults(definition["spec"], allowed), *_status_faults(definition)]
    spec = definition["spec"]
    if approval.is_protected(spec.get("group", "")):
        _, reason, message = approval.judge(definition)
        place = Path("metadata.annotations").key(approval.ANNOTATION)
        if reason == "MissingAnnotation":
            faults.append(required(place, message))
        elif reason == "InvalidAnnotation":
            faults.append(
                invalid(place, (definition["metadata"].get("annotations") or {})[approval.ANNOTATION], message)
            )
    return faults


def validate_update(new: Part, old: Part) -> list[FieldError]:
    """The faults of a changed definition."""
    spec, before = new["spec"], old["spec"]
    faults = [*_spec_faults(spec, _Allowed.by(new, old)), *_status_faults(new)]
    fixed: list[tuple[Path, Any, Any]] = [
        (_SPEC.child("group"), spec.get("group"), before.get("group")),
        (_SPEC.child("names", "plural"), spec["names"].get("plural"), before["names"].get("plural")),
    ]
    if _is_established(old):
        fixed += [
            (_SPEC.child("scope"), spec.get("scope"), before.get("scope")),
            (_SPEC.child("names", "kind"), spec["names"].get("kind"), before["names"].get("kind")),
        ]
    faults += [invalid(path, now, "field is immutable") for path, now, then in fixed if now != then]
    if approval.is_protected(spec.get("group", "")):
        _, reason, message = approval.judge(new)
        if reason != approval.judge(old)[1] and reason in ("MissingAnnotation", "InvalidAnnotation"):
            place = Path("metadata.annotations").key(approval.ANNOTATION)
            value = (new["metadata"].get("annotations") or {}).get(approval.ANNOTATION, "")
            faults.append(invalid(place, value, message) if value else required(place, message))
    return faults


def _is_established(definition: Part) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions)


def validate_status_update(new: Part, old: Part) -> list[FieldError]:
    return list(_names_faults((new.get("status") or {}).get("acceptedNames") or {}, Path("status.acceptedNames")))


def warnings(definition: Part) -> list[str]:
    """Formats that nobody checks."""
    return [f'unrecognized format "{name}"' for name in _unknown_formats(definition)]


def update_warnings(new: Part, old: Part) -> list[str]:
    known = set(_unknown_formats(old))
    return [f'unrecognized format "{name}"' for name in _unknown_formats(new) if name not in known]


def _unknown_formats(definition: Part) -> list[str]:
    found: list[str] = []
    pending = [
        version["schema"]["openAPIV3Schema"]
        for version in definition["spec"].get("versions") or ()
        if (version.get("schema") or {}).get("openAPIV3Schema")
    ]
    while pending:
        schema = pending.pop()
        if schema.get("format") and not formats.is_known(schema.get("type", ""), schema["format"]):
            found.append(schema["format"])
        for key in ("items", "additionalProperties", "not"):
            if isinstance(schema.get(key), Mapping):
                pending.append(schema[key])
        for key in ("allOf", "anyOf", "oneOf"):
            pending += schema.get(key) or ()
        pending += (schema.get("properties") or {}).values()
    return list(dict.fromkeys(found))


def _name_faults(definition: Part) -> Iterator[FieldError]:
    spec, name = definition["spec"], definition["metadata"].get("name", "")
    if name and name != f"{spec['names'].get('plural', '')}.{spec.get('group', '')}":
        yield invalid(Path("metadata.name"), name, 'must be spec.names.plural+"."+spec.group')


def _spec_faults(spec: Part, allowed: _Allowed) -> Iterator[FieldError]:
    group, scope = spec.get("group", ""), spec.get("scope", "")
    place = _SPEC.child("group")
    if not group:
        yield required(place)
    elif problems := names.dns_subdomain(group):
        yield invalid(place, group, ",".join(problems))
    elif "." not in group:
        yield invalid(place, group, "should be a domain with at least one dot")
    if not scope:
        yield required(_SPEC.child("scope"))
    elif scope not in ("Cluster", "Namespaced"):
        yield not_supported(_SPEC.child("scope"), scope, ("Cluster", "Namespaced"))
    versions = spec.get("versions") or ()
    for index, version in enumerate(versions):
        yield from _version_faults(version, _SPEC.child("versions").index(index), allowed)
    listed = [version.get("name", "") for version in versions]
    if len(set(listed)) != len(listed):
        yield invalid(_SPEC.child("versions"), versions, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        yield invalid(_SPEC.child("versions"), versions, text)
    for key in ("plural", "singular", "kind", "listKind"):
        if not spec["names"].get(key):
            yield required(_SPEC.child("names", key))
    yield from _names_faults(spec["names"], _SPEC.child("names"))
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield invalid(_SPEC.child("preserveUnknownFields"), True, text)
    yield from _conversion_faults(spec.get("conversion") or {}, _SPEC.child("conversion"), allowed)


def _names_faults(given: Part, path: Path) -> Iterator[FieldError]:
    for key in ("plural", "singular"):
        if given.get(key) and (problems := names.dns_1035_label(given[key])):
            yield invalid(path.child(key), given[key], ",".join(problems))
    for key in ("kind", "listKind"):
        if given.get(key) and (problems := names.dns_1035_label(given[key].lower())):
            text = f"may have mixed case, but should otherwise match: {','.join(problems)}"
            yield invalid(path.child(key), given[key], text)
    if given.get("kind") and given["kind"] == given.get("listKind"):
        yield invalid(path.child("listKind"), given["listKind"], "kind and listKind may not be the same")
    for key in ("shortNames", "categories"):
        for index, name in enumerate(given.get(key) or ()):
            if problems := names.dns_1035_label(name):
                yield invalid(path.child(key).index(index), name, ",".join(problems))


def _version_faults(version: Part, path: Path, allowed: _Allowed) -> Iterator[FieldError]:
    if problems := names.dns_1035_label(version.get("name", "")):
        yield invalid(path.child("name"), version.get("name", ""), ",".join(problems))
    yield from _deprecation_faults(version, path.child("deprecationWarning"))
    subresources = version.get("subresources") or {}
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    place = path.child("schema", "openAPIV3Schema")
    if schema is None:
        yield required(place)
    else:
        yield from check_schema(schema, place, has_status=subresources.get("status") is not None)
    if subresources.get("scale") is not None:
        yield from _scale_faults(subresources["scale"], path.child("subresources", "scale"))
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        yield from _column_faults(column, path.child("additionalPrinterColumns").index(index))
    if version.get("selectableFields") and schema is not None:
        is_free = version.get("name") in allowed.many_selectable
        yield from _selectable_faults(
            version["selectableFields"], schema, path.child("selectableFields"), may_be_many=is_free
        )


def _deprecation_faults(version: Part, path: Path) -> Iterator[FieldError]:
    warning = version.get("deprecationWarning")
    if warning is None:
        return
    if not version.get("deprecated"):
        yield invalid(path, warning, "can only be set for deprecated versions")
        return
    if len(warning.encode()) > 256:
        yield invalid(path, warning, "must be <= 256 characters long")
    if not warning:
        yield invalid(path, warning, "must not be an empty string")
    for index, letter in enumerate(warning):
        if not letter.isprintable():
            text = f"must only contain printable UTF-8 characters; non-printable character found at index {index}"
            yield invalid(path, warning, text)
            break


def _scale_faults(scale: Part, path: Path) -> Iterator[FieldError]:
    for key, start in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        text = scale.get(key, "")
        if not text:
            yield required(path.child(key))
        elif fault := _simple_path_fault(text, path.child(key)):
            yield fault
        elif not text.startswith(start):
            yield invalid(path.child(key), text, f"should be a json path under {start[:-1]}")
    text = scale.get("labelSelectorPath") or ""
    place = path.child("labelSelectorPath")
    if text and (fault := _simple_path_fault(text, place)):
        yield fault
    elif text and not text.startswith((".spec.", ".status.")):
        yield invalid(place, text, "should be a json path under either .spec or .status")


def _simple_path_fault(text: str, path: Path) -> FieldError | None:
    return None if text.startswith(".") else invalid(path, text, "must be a simple json path starting with .")


def _column_faults(column: Part, path: Path) -> Iterator[FieldError]:
    type_, format_, json_path = column.get("type", ""), column.get("format", ""), column.get("jsonPath", "")
    if not column.get("name"):
        yield required(path.child("name"))
    one_of = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not type_:
        yield required(path.child("type"), one_of)
    elif type_ not in _COLUMN_TYPES:
        yield invalid(path.child("type"), type_, one_of)
    if format_ and format_ not in _COLUMN_FORMATS:
        yield invalid(path.child("format"), format_, f"must be one of {','.join(_COLUMN_FORMATS)}")
    place = path.child("JSONPath")
    if not json_path:
        yield required(place)
    elif fault := _simple_path_fault(json_path, place):
        yield fault


def _selectable_faults(fields: Sequence[Part], schema: Part, path: Path, *, may_be_many: bool) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, field in enumerate(fields):
        text, place = field.get("jsonPath", ""), path.index(index).child("jsonPath")
        if not text:
            yield required(place)
            continue
        try:
            found = schema_at(schema, text)
        except ValueError as error:
            yield invalid(place, text, f"is an invalid path: {error}")
            continue
        if text.split(".")[1] == "metadata":
            yield invalid(place, text, "must not point to fields in metadata")
        if found.get("type") not in _SELECTABLE_TYPES:
            why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            yield invalid(place, text, why)
        if text in seen:
            yield duplicate(place, text)
        seen.add(text)
    if len(seen) > MAX_SELECTABLE_FIELDS and not may_be_many:
        yield too_many(path, len(seen), MAX_SELECTABLE_FIELDS)


def schema_at(schema: Part, path: str) -> Part:
    """The schema of a field at a simple path such as `.spec.color`. Raises ValueError where there is none."""
    if not path.startswith("."):
        raise ValueError(f"expected {path} to begin with a dot")
    for name in path[1:].split("."):
        properties = schema.get("properties") or {}
        if name not in properties:
            raise ValueError(f"does not refer to a valid field: {name}")
        schema = properties[name]
    return schema


def _conversion_faults(conversion: Part, path: Path, allowed: _Allowed) -> Iterator[FieldError]:
    strategy = conversion.get("strategy", "")
    if not strategy:
        yield required(path.child("strategy"))
    elif strategy not in ("None", "Webhook"):
        yield not_supported(path.child("strategy"), strategy, ("None", "Webhook"))
    webhook = conversion.get("webhook") or {}
    config, versions = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    if strategy == "Webhook":
        yield from _webhook_faults(config, path.child("webhookClientConfig"), may_be_bad=allowed.bad_bundle)
        yield from _review_version_faults(versions, path.child("conversionReviewVersions"), allowed)
        return
    for key, value in (("webhookClientConfig", config), ("conversionReviewVersions", versions)):
        if value:
            yield field_forbidden(path.child(key), "should not be set when strategy is not set to Webhook")


def _webhook_faults(config: Part | None, path: Path, *, may_be_bad: bool) -> Iterator[FieldError]:
    if config is None:
        yield required(path, "required when strategy is set to Webhook")
        return
    faults: list[FieldError] = []
    check_client_config(config, path, faults)
    yield from faults
    if config.get("caBundle") and not may_be_bad and (problem := bundle_problem(config["caBundle"])):
        yield invalid(path.child("caBundle"), config["caBundle"], problem)


def _review_version_faults(versions: Sequence[str], path: Path, allowed: _Allowed) -> Iterator[FieldError]:
    if not versions:
        yield required(path)
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield invalid(path.index(index), version, "duplicate version")
        else:
            yield from (invalid(path.index(index), version, text) for text in names.dns_1035_label(version))
    if not allowed.unknown_reviews and not any(version in _REVIEW_VERSIONS for version in versions):
        yield invalid(path, list(versions), f"must include at least one of {', '.join(_REVIEW_VERSIONS)}")


def bundle_problem(bundle: str) -> str:
    """What keeps a caBundle, base64 of PEM, from being used; empty if nothing does. White space alone is no bundle."""
    try:
        text = b64decode(bundle)
        if text.strip():
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text.decode())
    except (ssl.SSLError, ValueError):
        return "unable to load root certificates: unable to parse bytes as PEM block"
    return ""


def _status_faults(definition: Part) -> Iterator[FieldError]:
    status = definition.get("status") or {}
    path = Path("status.storedVersions")
    stored = list(status.get("storedVersions") or ())
    yield from _names_faults(status.get("acceptedNames") or {}, Path("status.acceptedNames"))
    if not stored:
        yield invalid(path, stored, "must have at least one stored version")
        return
    versions = definition["spec"].get("versions") or ()
    for version in versions:
        if version.get("storage") and version.get("name") not in stored:
            yield invalid(path, stored, f"must have the storage version {version.get('name')}")
    declared = {version.get("name") for version in versions}
    for index, name in enumerate(stored):
        if name not in declared:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage "
                f"migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            )
            yield invalid(path.index(index), name, why)
