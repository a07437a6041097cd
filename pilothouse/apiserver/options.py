"""The options of each verb, read from the query or the body and validated as upstream does.

Source: apimachinery `meta/v1/types.go` and `meta/v1/validation`, `meta/internalversion/validation`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pilothouse.api.field_selector import FieldSelector, parse_fields
from pilothouse.api.path import (
    FieldError,
    Path,
    field_forbidden,
    invalid,
    invalid_object,
    not_supported,
    required,
    too_long,
)
from pilothouse.api.schema import FieldValidation
from pilothouse.api.selector import LabelSelector, parse_labels
from pilothouse.api.status import BadRequest
from pilothouse.apiserver.decode import decode, json_type
from pilothouse.apiserver.route import Query, is_true
from pilothouse.store.base import Revision

_META_GROUP = "meta.k8s.io"
_FIELD_MANAGER_LIMIT = 128
_PROPAGATION = ("Foreground", "Background", "Orphan")
_MAX_INT64 = 2**63 - 1
_MAX_UINT64 = 2**64 - 1
_is_integer = re.compile(r"[+-]?[0-9]+").fullmatch


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """CreateOptions, UpdateOptions or PatchOptions."""

    dry_run: bool = False
    field_manager: str = ""
    field_validation: FieldValidation = FieldValidation.WARN
    kind: str = "CreateOptions"
    force: bool = False
    """Whether an apply takes fields over from others."""

    def to_object(self) -> dict[str, Any]:
        options: dict[str, Any] = {"kind": self.kind, "apiVersion": "meta.k8s.io/v1"}
        if self.dry_run:
            options["dryRun"] = ["All"]
        if self.field_manager:
            options["fieldManager"] = self.field_manager
        options["fieldValidation"] = self.field_validation.value
        if self.force:
            options["force"] = True
        return options


_DEFAULT_WRITE = {kind: WriteOptions(kind=kind) for kind in ("CreateOptions", "UpdateOptions", "PatchOptions")}


def write_options(query: Query, kind: str, *, is_apply: bool = False) -> WriteOptions:
    """Raises Invalid."""
    if not query and not is_apply:
        return _DEFAULT_WRITE[kind]
    errors: list[FieldError] = []
    manager = query.get("fieldManager", "")
    if is_apply and not manager:
        errors.append(required(Path("fieldManager"), "is required for apply patch"))
    if len(manager.encode()) > _FIELD_MANAGER_LIMIT:
        errors.append(too_long(Path("fieldManager"), _FIELD_MANAGER_LIMIT))
    errors += (
        invalid(Path("fieldManager"), manager, f"invalid character U+{ord(char):04X} (at position {position})")
        for position, char in enumerate(manager)
        if not char.isprintable()
    )
    dry_run = query.get("dryRun", "All")
    if dry_run != "All":
        errors.append(not_supported(Path("dryRun"), [dry_run], ["All"]))
    checking = query.get("fieldValidation", "") or "Warn"
    if checking not in ("Ignore", "Warn", "Strict"):
        errors.append(not_supported(Path("fieldValidation"), checking, ["", "Ignore", "Strict", "Warn"]))
    if "force" in query and kind == "PatchOptions" and not is_apply:
        errors.append(field_forbidden(Path("force"), "may not be specified for non-apply patch"))
    if errors:
        raise invalid_object(_META_GROUP, kind, "", errors)
    force = is_apply and is_true(query.get("force", "false"))
    return WriteOptions("dryRun" in query, manager, FieldValidation(checking), kind, force)


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How an object is to be deleted. None means that the client did not say."""

    dry_run: bool = False
    grace_period_s: int | None = None
    propagation: str | None = None
    orphan_dependents: bool | None = None
    uid: str | None = None
    resource_version: str | None = None

    def to_object(self) -> dict[str, Any]:
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
        if self.dry_run:
            options["dryRun"] = ["All"]
        if self.grace_period_s is not None:
            options["gracePeriodSeconds"] = self.grace_period_s
        if self.propagation is not None:
            options["propagationPolicy"] = self.propagation
        if self.orphan_dependents is not None:
            options["orphanDependents"] = self.orphan_dependents
        preconditions = {
            key: value
            for key, value in (("uid", self.uid), ("resourceVersion", self.resource_version))
            if value is not None
        }
        if preconditions:
            options["preconditions"] = preconditions
        return options


_NO_DELETE_OPTIONS = DeleteOptions()


def delete_options(query: Query, body: bytes, headers: Mapping[str, str]) -> DeleteOptions:
    """From the body or, where there is none, the query. Raises BadRequest, Invalid."""
    if body:
        options, _ = decode(body, headers, "")
        if options.get("kind", "DeleteOptions") != "DeleteOptions":
            raise BadRequest(
                f'no kind "{options["kind"]}" is registered for version "{options.get("apiVersion", "")}" in scheme '
                '"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"'
            )
        return delete_options_of(options)
    if not query:
        return _NO_DELETE_OPTIONS
    given: dict[str, Any] = {}
    if "gracePeriodSeconds" in query:
        given["gracePeriodSeconds"] = _integer(query["gracePeriodSeconds"])
    if "propagationPolicy" in query:
        given["propagationPolicy"] = query["propagationPolicy"]
    if "orphanDependents" in query:
        given["orphanDependents"] = is_true(query["orphanDependents"])
    if "dryRun" in query:
        given["dryRun"] = [query["dryRun"]]
    if meant := {name: query[name] for name in ("uid", "resourceVersion") if query.get(name)}:
        given["preconditions"] = meant
    return delete_options_of(given)


def delete_options_of(options: Mapping[str, Any]) -> DeleteOptions:
    """Raises BadRequest for a value of a wrong type, Invalid for one that is not allowed."""
    errors: list[FieldError] = []
    grace = options.get("gracePeriodSeconds")
    propagation = options.get("propagationPolicy")
    orphan = options.get("orphanDependents")
    dry_run = options.get("dryRun") or []
    preconditions = options.get("preconditions") or {}
    for name, value, type_, go_type in (
        ("gracePeriodSeconds", grace, int, "int64"),
        ("propagationPolicy", propagation, str, "v1.DeletionPropagation"),
        ("orphanDependents", orphan, bool, "bool"),
        ("dryRun", dry_run, list, "[]string"),
        ("preconditions", preconditions, dict, "v1.Preconditions"),
    ):
        if value is not None and (not isinstance(value, type_) or (type_ is int and isinstance(value, bool))):
            found = f"number {value}" if isinstance(value, float) else json_type(value)
            raise BadRequest(
                f"json: cannot unmarshal {found} into Go struct field DeleteOptions.{name} of type {go_type}"
            )
    if orphan is not None and propagation is not None:
        errors.append(
            invalid(
                Path("propagationPolicy"), propagation, "orphanDependents and deletionPropagation cannot be both set"
            )
        )
    if propagation is not None and propagation not in _PROPAGATION:
        errors.append(not_supported(Path("propagationPolicy"), propagation, [*_PROPAGATION, "nil"]))
    if any(value != "All" for value in dry_run):
        errors.append(not_supported(Path("dryRun"), dry_run, ["All"]))
    if options.get("ignoreStoreReadErrorWithClusterBreakingPotential"):
        errors.append(
            field_forbidden(
                Path("ignoreStoreReadErrorWithClusterBreakingPotential"),
                "unsafe deletion is not supported by this server",
            )
        )
    if errors:
        raise invalid_object(_META_GROUP, "DeleteOptions", "", errors)
    return DeleteOptions(
        bool(dry_run), grace, propagation, orphan, preconditions.get("uid"), preconditions.get("resourceVersion")
    )


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What to list or watch."""

    labels: LabelSelector | None = None
    """None selects everything."""
    fields: FieldSelector | None = None
    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    resource_version_match: str = ""
    timeout_s: int | None = None
    allow_bookmarks: bool = False
    send_initial_events: bool | None = None


_EVERYTHING = ListOptions()


def list_options(query: Query, *, is_watch: bool) -> ListOptions:
    """Raises BadRequest, Invalid."""
    if not query:
        return _EVERYTHING
    send_initial = query.get("sendInitialEvents")
    options = ListOptions(
        labels=parse_labels(query["labelSelector"]) if query.get("labelSelector") else None,
        fields=parse_fields(query["fieldSelector"]) if query.get("fieldSelector") else None,
        limit=_integer(query["limit"]) if "limit" in query else 0,
        continue_token=query.get("continue", ""),
        resource_version=query.get("resourceVersion", ""),
        resource_version_match=query.get("resourceVersionMatch", ""),
        timeout_s=_integer(query["timeoutSeconds"]) if "timeoutSeconds" in query else None,
        allow_bookmarks=is_true(query.get("allowWatchBookmarks", "false")),
        send_initial_events=None if send_initial is None else is_true(send_initial),
    )
    if query.get("shardSelector"):
        raise BadRequest("shardSelector is not supported: the feature ShardedListAndWatch is off")
    if is_watch and "watch" in query:
        options = _with_initial_events(options)
    errors = _watch_faults(options) if is_watch else _list_faults(options)
    if errors:
        raise invalid_object(_META_GROUP, "ListOptions", "", errors)
    return options


def _with_initial_events(options: ListOptions) -> ListOptions:
    """A watch that asks for the present state first is one of the newer kind, though it does not say so."""
    if (
        options.send_initial_events is None
        and not options.resource_version_match
        and options.resource_version in ("", "0")
    ):
        return replace(options, send_initial_events=True, resource_version_match="NotOlderThan")
    return options


def revision_of(text: str) -> Revision:
    """The `resourceVersion` of a request; 0 for an empty one. Raises BadRequest."""
    if not text:
        return Revision(0)
    if text.isascii() and text.isdigit():
        revision = int(text)
        if revision <= _MAX_UINT64:
            return Revision(min(revision, _MAX_INT64))
        why = "value out of range"
    else:
        why = "invalid syntax"
    raise BadRequest(
        f'invalid resource version: resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": {why}'
    )


def _list_faults(options: ListOptions) -> list[FieldError]:
    path = Path("resourceVersionMatch")
    match = options.resource_version_match
    errors = []
    if match:
        if not options.resource_version:
            errors.append(field_forbidden(path, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if options.continue_token:
            errors.append(field_forbidden(path, "resourceVersionMatch is forbidden when continue is provided"))
        if match not in ("Exact", "NotOlderThan"):
            errors.append(not_supported(path, match, ["Exact", "NotOlderThan", ""]))
        if match == "Exact" and options.resource_version == "0":
            errors.append(field_forbidden(path, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if options.send_initial_events is not None:
        errors.append(field_forbidden(Path("sendInitialEvents"), "sendInitialEvents is forbidden for list"))
    return errors


def _watch_faults(options: ListOptions) -> list[FieldError]:
    path = Path("resourceVersionMatch")
    match = options.resource_version_match
    errors = []
    if options.send_initial_events is not None and match != "NotOlderThan":
        errors.append(field_forbidden(path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if match:
        if options.send_initial_events is None:
            errors.append(
                field_forbidden(
                    path, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
                )
            )
        if match != "NotOlderThan":
            errors.append(not_supported(path, match, ["NotOlderThan"]))
        if options.continue_token:
            errors.append(field_forbidden(path, "resourceVersionMatch is forbidden when continue is provided"))
    return errors


def _integer(text: str) -> int:
    """A 64-bit integer as upstream reads one. Raises BadRequest."""
    why = "invalid syntax"
    if _is_integer(text):
        number = int(text)
        if -_MAX_INT64 - 1 <= number <= _MAX_INT64:
            return number
        why = "value out of range"
    raise BadRequest(f'strconv.ParseInt: parsing "{text}": {why}')
