"""Events. Source: `pkg/apis/core/validation/events.go`.

Events with an `eventTime` come from the newer library and must say who reports what; others only have to stand in the namespace of
what they are about.
"""

from __future__ import annotations

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, invalid, required
from pilothouse.api.validate.values import Errors, Part, check_name, check_present

_LIMITS = (("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024))
_ROOT = Path()


def validate_event(event: Part) -> list[FieldError]:
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
            errors.append(required(Path("reportingComponent")))
        check_name(names.label_key, reporter, Path("reportingComponent"), errors)
        for field, limit in _LIMITS:
            if field != "message":
                check_present(event, field, _ROOT, errors)
            if len(event.get(field, "")) > limit:
                errors.append(invalid(Path(field), "", f"can have at most {limit} characters"))
    check_name(names.dns_subdomain, namespace, Path("namespace"), errors)
    return errors
