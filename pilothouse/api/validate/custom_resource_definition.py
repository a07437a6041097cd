"""CustomResourceDefinition. Source: apiextensions-apiserver `pkg/apis/apiextensions/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, Shown, invalid, not_supported, required, shown_struct
from pilothouse.api.structural import approval, formats
from pilothouse.api.structural.form import check_schema
from pilothouse.api.validate.custom_resource_conversion import REVIEW_VERSIONS, bundle_problem, conversion_faults
from pilothouse.api.validate.custom_resource_version import (
    MAX_SELECTABLE_FIELDS,
    column_faults,
    deprecation_faults,
    scale_faults,
    selectable_faults,
)

Part = Mapping[str, Any]
_SPEC = Path("spec")


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What may be wrong because it was wrong before, or because nothing depends on it yet."""

    bad_bundle: bool = True
    unknown_reviews: bool = False
    many_selectable: frozenset[str] = frozenset()
    """Versions."""
    same_schemas: frozenset[str] = frozenset()
    """Versions whose schema does not change."""

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
            bool(reviews) and not any(version in REVIEW_VERSIONS for version in reviews),
            frozenset(many),
            frozenset(
                version["name"]
                for version in new["spec"].get("versions") or ()
                if version.get("name") in before and version.get("schema") == before[version["name"]].get("schema")
            ),
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
    spec = definition["spec"]
    for field in ("generateName", "name"):
        name = definition["metadata"].get(field)
        if name and name != f"{spec['names'].get('plural', '')}.{spec.get('group', '')}":
            yield invalid(Path("metadata").child(field), name, 'must be spec.names.plural+"."+spec.group')


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
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            yield required(_SPEC.child("versions").index(index).child("schema", "openAPIV3Schema"))
    shared = _shared(versions)
    for index, version in enumerate(versions):
        own = {key: value for key, value in version.items() if key not in shared}
        yield from _version_faults(own, version, _SPEC.child("versions").index(index), allowed)
    shown = _shown_list([_shown(version, shared) for version in versions]) if versions else None
    listed = [version.get("name", "") for version in versions]
    if len(set(listed)) != len(listed):
        yield invalid(_SPEC.child("versions"), shown, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        yield invalid(_SPEC.child("versions"), shown, text)
    if versions and (problems := names.dns_1035_label(versions[0].get("name", ""))) and versions[0].get("name"):
        # The first version stands for the definition as well, as it did in v1beta1.
        yield invalid(_SPEC.child("version"), versions[0]["name"], ",".join(problems))
    for key in ("plural", "singular", "kind", "listKind"):
        if not spec["names"].get(key):
            yield required(_SPEC.child("names", key))
    yield from _names_faults(spec["names"], _SPEC.child("names"))
    if versions:
        yield from _shared_faults({key: versions[0].get(key) for key in shared}, versions, allowed)
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield invalid(_SPEC.child("preserveUnknownFields"), True, text)
    yield from conversion_faults(
        spec.get("conversion") or {},
        _SPEC.child("conversion"),
        bad_bundle=allowed.bad_bundle,
        unknown_reviews=allowed.unknown_reviews,
    )


def _shown_list(shown: Sequence[Shown]) -> Shown:
    return Shown(f"[{','.join(each.text for each in shown)}]")


def _shown(version: Part, shared: frozenset[str]) -> Shown:
    """A version as upstream's messages show it; schemas are left as they were written."""
    said = {key: value for key, value in version.items() if key not in shared}
    return shown_struct(
        {
            "Name": version.get("name", ""),
            "Served": version.get("served", False),
            "Storage": version.get("storage", False),
            "Deprecated": version.get("deprecated", False),
            "DeprecationWarning": version.get("deprecationWarning"),
            "Schema": said.get("schema"),
            "Subresources": said.get("subresources"),
            "AdditionalPrinterColumns": said.get("additionalPrinterColumns"),
            "SelectableFields": said.get("selectableFields"),
        }
    )


def _shared(versions: Sequence[Part]) -> frozenset[str]:
    """What all versions say alike: upstream's messages speak of it as said once for all."""
    return frozenset(
        key
        for key in ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
        if len({orjson.dumps(each.get(key) or None, option=orjson.OPT_SORT_KEYS) for each in versions}) == 1
    )


def _shared_faults(said: Part, versions: Sequence[Part], allowed: _Allowed) -> Iterator[FieldError]:
    schema = (said.get("schema") or {}).get("openAPIV3Schema")
    if schema is not None:
        has_status = any((each.get("subresources") or {}).get("status") is not None for each in versions)
        is_unchanged = versions[0].get("name") in allowed.same_schemas
        place = _SPEC.child("validation", "openAPIV3Schema")
        yield from check_schema(schema, place, has_status=has_status, is_unchanged=is_unchanged)
    schema = schema or (versions[0].get("schema") or {}).get("openAPIV3Schema")
    yield from _other_faults(said, schema, _SPEC, may_be_many=bool(allowed.many_selectable))


def _version_faults(own: Part, version: Part, path: Path, allowed: _Allowed) -> Iterator[FieldError]:
    """`own` is what a version says that others do not."""
    if problems := names.dns_1035_label(version.get("name", "")):
        yield invalid(path.child("name"), version.get("name", ""), ",".join(problems))
    yield from deprecation_faults(version, path.child("deprecationWarning"))
    schema = (own.get("schema") or {}).get("openAPIV3Schema")
    if schema is not None:
        has_status = (version.get("subresources") or {}).get("status") is not None
        is_unchanged = version.get("name") in allowed.same_schemas
        place = path.child("schema", "openAPIV3Schema")
        yield from check_schema(schema, place, has_status=has_status, is_unchanged=is_unchanged)
    whole = (version.get("schema") or {}).get("openAPIV3Schema")
    yield from _other_faults(own, whole, path, may_be_many=version.get("name") in allowed.many_selectable)


def _other_faults(said: Part, schema: Part | None, path: Path, *, may_be_many: bool) -> Iterator[FieldError]:
    scale = (said.get("subresources") or {}).get("scale")
    if scale is not None:
        yield from scale_faults(scale, path.child("subresources", "scale"))
    for index, column in enumerate(said.get("additionalPrinterColumns") or ()):
        yield from column_faults(column, path.child("additionalPrinterColumns").index(index))
    if said.get("selectableFields") and schema is not None:
        place = path.child("selectableFields")
        yield from selectable_faults(said["selectableFields"], schema, place, may_be_many=may_be_many)


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


def _status_faults(definition: Part) -> Iterator[FieldError]:
    status = definition.get("status") or {}
    path = Path("status.storedVersions")
    stored = list(status.get("storedVersions") or ())
    yield from _names_faults(status.get("acceptedNames") or {}, Path("status.acceptedNames"))
    if not stored:
        yield invalid(path, None, "must have at least one stored version")
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
