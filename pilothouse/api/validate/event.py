"""Events. Source: `pkg/apis/core/validation/events.go`.

Events with an `eventTime` come from the newer library and must say who reports what; others only have to stand in the namespace of
what they are about.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import names
from pilothouse.api.gvr import GVR
from pilothouse.api.path import FieldError, Path, invalid, required
from pilothouse.api.validate.metadata import check_known_finalizers, validate_metadata, validate_metadata_update
from pilothouse.api.validate.shown import shown
from pilothouse.api.validate.values import IMMUTABLE, Errors, Part, check_name, check_present

_LIMITS = (("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024))
_ROOT = Path()


_KEPT = (
    "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "reason", "type", "eventTime",
    "action", "related", "reportingController", "reportingInstance",
)  # fmt: skip
_REFERENCE = dict.fromkeys(("Kind", "Namespace", "Name", "UID", "APIVersion", "ResourceVersion", "FieldPath"), "")
_LAYOUTS = {"involvedObject": _REFERENCE, "related": _REFERENCE, "source": {"Component": "", "Host": ""}}
_EMPTY: dict[str, Any] = {
    **dict.fromkeys(("reason", "message", "type", "action", "reportingController", "reportingInstance"), ""),
    "count": 0,
    "involvedObject": {},
    "source": {},
}
"""What is told of a field that is not given, where that is not null."""
_STORED = {"reportingController": "reportingComponent"}


def validate_event_as(version: GVR, event: Part, old: Part | None) -> list[FieldError]:
    """Faults in an event; what the newer library's must obey besides, and what of them never changes."""
    errors = _faults(event, "reportingController" if version.group else "reportingComponent")
    if not version.group:
        return errors
    if old is not None:
        errors += [*validate_metadata_update(event, old), *check_known_finalizers(event["metadata"])]
        if event.get("series") != old.get("series"):
            _check_series(event, errors)
        for field in _KEPT:
            now, then = (one.get(_STORED.get(field, field), _EMPTY.get(field)) for one in (event, old))
            if now != then:
                layout = _LAYOUTS.get(field)
                told = now if layout is None or now is None else shown(now, layout)
                errors.append(invalid(Path(field), told, IMMUTABLE))
        return errors
    errors += validate_metadata(event, namespaced=True)
    errors += check_known_finalizers(event["metadata"])
    _check_series(event, errors)
    if not event.get("eventTime"):
        errors.append(required(Path("eventTime")))
    if (type_ := event.get("type", "")) not in ("Normal", "Warning"):
        errors.append(invalid(Path("type"), "", f"has invalid value: {type_}"))
    for field in ("firstTimestamp", "lastTimestamp", "count", "source"):
        if event.get(field):
            errors.append(invalid(Path(field), "", "needs to be unset"))
    return errors


def _check_series(event: Part, errors: Errors) -> None:
    series = event.get("series")
    if series is None:
        return
    if series.get("count", 0) < 2:
        errors.append(invalid(Path("series.count"), "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        errors.append(required(Path("series.lastObservedTime")))


def _faults(event: Part, reporter_field: str) -> list[FieldError]:
    """In any version; the reporter's field has two names."""
    errors: Errors = []
    namespace = event["metadata"].get("namespace", "")
    involved = (event.get("involvedObject") or {}).get("namespace", "")
    mismatch = invalid(Path("involvedObject.namespace"), involved, "does not match event.namespace")
    if not event.get("eventTime"):
        if namespace != involved and (involved or namespace != "default"):
            errors.append(mismatch)
    else:
        if not involved and namespace not in ("default", "kube-system"):
            errors.append(mismatch)
        reporter = event.get("reportingComponent", "")
        if not reporter:
            errors.append(required(Path(reporter_field)))
        check_name(names.label_key, reporter, Path(reporter_field), errors)
        for field, limit in _LIMITS:
            if field != "message":
                check_present(event, field, _ROOT, errors)
            if len(event.get(field, "")) > limit:
                errors.append(invalid(Path(field), "", f"can have at most {limit} characters"))
    check_name(names.dns_subdomain, namespace, Path("namespace"), errors)
    return errors
