"""The fields by which objects can be selected."""

import pytest

from pilothouse.api import gvr
from pilothouse.api.field_selector import parse_fields
from pilothouse.api.gvr import GVR
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.status import BadRequest
from pilothouse.apiserver.field_labels import check_selectable

_OWN = {kind.gvr: kind.selectable for kind in RESOURCES}
_OWN[gvr.EVENTS] = _OWN[gvr.CORE_EVENTS]


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (gvr.PODS, "spec.nodeName"),
        (gvr.PODS, "metadata.namespace"),
        (gvr.CONFIG_MAPS, "metadata.name"),
        (gvr.CLUSTER_ROLES, "metadata.namespace"),
        (gvr.CORE_EVENTS, "involvedObject.kind"),
        (gvr.CORE_EVENTS, "source"),
        (gvr.EVENTS, "regarding.kind"),
        (gvr.EVENTS, "reportingController"),
        (gvr.EVENTS, "reason"),
    ],
)
def test_what_can_be_selected_by(kind: GVR, field: str) -> None:
    check_selectable(kind, _OWN[kind], parse_fields(f"{field}=x"))


@pytest.mark.parametrize(
    ("kind", "field", "message"),
    [
        (gvr.PODS, "a", "field label not supported: a"),
        (gvr.NODES, "metadata.namespace", "field label not supported: metadata.namespace"),
        (gvr.JOBS, "a", 'field label "a" not supported for Job'),
        (gvr.RESOURCE_SLICES, "a", "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: a"),
        (
            gvr.CONFIG_MAPS,
            "data",
            '"data" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        (gvr.CORE_EVENTS, "regarding.kind", "field label not supported: regarding.kind"),
        (gvr.CORE_EVENTS, "reportingController", "field label not supported: reportingController"),
        (gvr.EVENTS, "involvedObject.kind", "field label not supported: involvedObject.kind"),
        (gvr.EVENTS, "source", "field label not supported: source"),
    ],
)
def test_what_cannot(kind: GVR, field: str, message: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check_selectable(kind, _OWN[kind], parse_fields(f"{field}=x"))
    assert refused.value.message == message
