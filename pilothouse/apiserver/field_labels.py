"""By which fields the objects of a kind can be selected, and what is said of others.

Source: upstream's conversions of field labels in `pkg/apis/*/conversion.go`, and `runtime.DefaultMetaV1FieldSelectorConversion`.
"""

from __future__ import annotations

from collections.abc import Collection

from pilothouse.api import gvr
from pilothouse.api.field_selector import FieldSelector
from pilothouse.api.gvr import GVR
from pilothouse.api.status import BadRequest
from pilothouse.store.selection import NAME_FIELD, NAMESPACE_FIELD

_ONE_VERSION = {
    gvr.CORE_EVENTS: ("involvedObject.", "reportingComponent", "source", "reason", "type"),
    gvr.EVENTS: ("regarding.", "reportingController", "reason", "type"),
}
"""What the fields of a kind begin with that calls them differently at each of its versions."""


def check_selectable(kind: GVR, selectable: Collection[str], fields: FieldSelector | None) -> None:
    """`selectable` are the kind's own fields. Raises BadRequest."""
    for field, _, _ in () if fields is None else fields.requirements:
        if not _is_known(kind, selectable, field):
            raise BadRequest(_refusal(kind, bool(selectable), field))


def _is_known(kind: GVR, selectable: Collection[str], field: str) -> bool:
    if field == NAME_FIELD:
        return True
    if field == NAMESPACE_FIELD:
        return kind.namespaced or not selectable
    return field in selectable and field.startswith(_ONE_VERSION.get(kind, ""))


def _refusal(kind: GVR, has_own: bool, field: str) -> str:
    if not has_own:
        return f'"{field}" is not a known field selector: only "{NAME_FIELD}", "{NAMESPACE_FIELD}"'
    if kind == gvr.JOBS:
        return f'field label "{field}" not supported for Job'
    if kind.kind == "ResourceSlice":
        return f"field label not supported for {kind.api_version}, Kind=ResourceSlice: {field}"
    return f"field label not supported: {field}"
