"""Devices for administration, and who writes what a claim was given."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api import gvr as kinds
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.status import Invalid
from pilothouse.api.user import User
from pilothouse.apiserver.admission.device_access import DeviceAccess
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.authz.always import AlwaysDeny
from pilothouse.apiserver.authz.attributes import ALLOW, NO_OPINION, Decision
from pilothouse.apiserver.authz.attributes import Attributes as Asked
from pilothouse.apiserver.authz.chain import Chain, Link
from pilothouse.apiserver.objects import MemoryObjects

BY_GVR = {resource.gvr: resource for resource in RESOURCES}
LABELLED = {"metadata": {"name": "admins", "labels": {"resource.kubernetes.io/admin-access": "true"}}}
OBJECTS = MemoryObjects([(kinds.NAMESPACES, {"metadata": {"name": "ns"}}), (kinds.NAMESPACES, LABELLED)])
CLAIMED = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c", "adminAccess": True}}]}}
ON_N1 = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]}
DRIVER = User("system:serviceaccount:ns:driver", extra={"authentication.kubernetes.io/node-name": ("n1",)})


class Only(AlwaysDeny):
    """Allows (verb, subresource, name)."""

    def __init__(self, *allowed: tuple[str, str, str]) -> None:
        self.allowed = allowed

    def authorize(self, attributes: Asked) -> Decision:
        return ALLOW if (attributes.verb, attributes.subresource, attributes.name) in self.allowed else NO_OPINION


async def faults(
    kind: Any,
    obj: dict[str, Any],
    old: dict[str, Any] | None = None,
    *,
    namespace: str = "ns",
    allowed: tuple[tuple[str, str, str], ...] = (),
    user: User = DRIVER,
) -> list[str]:
    plugin = DeviceAccess(OBJECTS, Chain([Link(Only(*allowed))]))
    subresource = "" if old is None else "status"
    obj = {"metadata": {"name": "c"}, **obj}
    operation: Any = "CREATE" if old is None else "UPDATE"
    attributes = Attributes(operation, BY_GVR[kind], kind, namespace, "c", user, obj, old, subresource)
    try:
        await plugin.validate(attributes)
    except Invalid as error:
        return [f"{cause.field}: {cause.message}" for cause in error.causes]
    return []


@pytest.mark.parametrize(
    ("kind", "spec"),
    [(kinds.RESOURCE_CLAIMS, CLAIMED), (kinds.RESOURCE_CLAIM_TEMPLATES, {"spec": CLAIMED})],
)
async def test_administration_needs_a_label_of_the_namespace(kind: Any, spec: dict[str, Any]) -> None:
    text = "Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
    assert await faults(kind, {"spec": spec}) == [f"spec.devices.requests[0].adminAccess: {text}"]
    assert await faults(kind, {"spec": spec}, namespace="admins") == []
    assert await faults(kind, {"spec": {}}) == []


async def test_an_allocation_is_for_those_who_may_bind() -> None:
    kind = kinds.RESOURCE_CLAIMS
    status: dict[str, Any] = {"allocation": {"devices": {}}}
    (fault,) = await faults(kind, {"status": status}, {})
    assert fault == (
        "status.allocation: Forbidden: changing status.allocation or status.reservedFor requires "
        'resource="resourceclaims/binding", verb="update" permission: resourceclaims.resource.k8s.io is forbidden: User '
        '"system:serviceaccount:ns:driver" cannot update resource "resourceclaims/binding" in API group "resource.k8s.io" at the '
        "cluster scope"
    )
    assert await faults(kind, {"status": status}, {}, allowed=(("update", "binding", ""),)) == []
    assert await faults(kind, {"status": status}, {"status": status}) == []


async def test_an_allocation_for_administration_needs_the_label_too() -> None:
    status = {"allocation": {"devices": {"results": [{}, {"adminAccess": True}]}}}
    may = (("update", "binding", ""),)
    (fault,) = await faults(kinds.RESOURCE_CLAIMS, {"status": status}, {}, allowed=may)
    assert fault.startswith("status.allocation.devices.results[1].adminAccess: Forbidden: admin access")
    assert await faults(kinds.RESOURCE_CLAIMS, {"status": status}, {}, allowed=may, namespace="admins") == []


async def test_a_driver_tells_of_its_devices_on_its_node() -> None:
    kind, allocation = kinds.RESOURCE_CLAIMS, {"nodeSelector": ON_N1}
    old = {"status": {"allocation": allocation}}
    new = {"status": {"allocation": allocation, "devices": [{"driver": "d.io", "device": "x"}]}}
    (fault,) = await faults(kind, new, old)
    assert fault.startswith(
        'status.devices: Forbidden: changing status.devices requires resource="resourceclaims/driver", '
        'verb="[associated-node:update arbitrary-node:update]" permission: resourceclaims.resource.k8s.io "d.io" is forbidden: '
        'User "system:serviceaccount:ns:driver" cannot associated-node:update resource "resourceclaims/driver"'
    )
    assert await faults(kind, new, old, allowed=(("associated-node:update", "driver", "d.io"),)) == []
    assert await faults(kind, new, old, allowed=(("arbitrary-node:update", "driver", "d.io"),)) == []
    elsewhere = User("system:serviceaccount:ns:driver")
    (fault,) = await faults(kind, new, old, user=elsewhere, allowed=(("associated-node:update", "driver", "d.io"),))
    assert 'verb="[arbitrary-node:update]"' in fault
    (fault,) = await faults(kind, old, new)
    assert '"d.io"' in fault
