"""Who may claim devices for administration, and who may say which devices a claim has.

Access for administration is to devices that others use: a claim has it only in a namespace with a label. What a claim was given is
written by schedulers, who may update `resourceclaims/binding`; what drivers tell of its devices, by those who may so for the driver,
`resourceclaims/driver`, on the claim's node or on any. No flag turns this off. Source: `pkg/registry/resource`, KEPs 5018 and 4817.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api.path import FieldError, Path, field_forbidden, invalid_object
from pilothouse.apiserver.admission.plugin import Plugin
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.authz.attributes import Attributes as Asked
from pilothouse.apiserver.authz.attributes import Authorizer, forbidden
from pilothouse.apiserver.objects import Objects

_LABEL = "resource.kubernetes.io/admin-access"
_NODE_NAME = "authentication.kubernetes.io/node-name"
_STATUS = Path("status")


class DeviceAccess(Plugin):
    name = "DeviceAccess"
    resources = frozenset({"resourceclaims.resource.k8s.io", "resourceclaimtemplates.resource.k8s.io"})

    def __init__(self, objects: Objects, authorizer: Authorizer) -> None:
        self._objects = objects
        self._authorizer = authorizer

    async def validate(self, attributes: Attributes) -> None:
        obj = attributes.obj
        if obj is None:
            return
        if attributes.operation == "CREATE" and not attributes.subresource:
            faults = await self._administration(attributes, _claimed(obj, attributes.resource.gvr.kind))
        elif attributes.subresource == "status" and attributes.old is not None:
            faults = await self._status(attributes, obj, attributes.old)
        else:
            return
        if faults:
            gvr = attributes.resource.gvr
            raise invalid_object(gvr.group, gvr.kind, obj["metadata"].get("name", ""), faults)

    async def _administration(self, attributes: Attributes, path: Path | None) -> list[FieldError]:
        if path is None:
            return []
        namespace = await self._objects.get(kinds.NAMESPACES, "", attributes.namespace) or {}
        if ((namespace.get("metadata") or {}).get("labels") or {}).get(_LABEL) == "true":
            return []
        text = f"admin access to devices requires the `{_LABEL}: true` label on the containing namespace"
        return [field_forbidden(path, text)]

    async def _status(self, attributes: Attributes, new: Mapping[str, Any], old: Mapping[str, Any]) -> list[FieldError]:
        now, then = new.get("status") or {}, old.get("status") or {}
        faults: list[FieldError] = []
        if _given(then) is None:
            faults += await self._administration(attributes, _given(now))
        if any(now.get(field) != then.get(field) for field in ("allocation", "reservedFor")):
            why = await self._refusal(attributes, _verb(attributes), "binding")
            if why:
                text = (
                    "changing status.allocation or status.reservedFor requires "
                    f'resource="resourceclaims/binding", verb="{_verb(attributes)}" permission: {why}'
                )
                faults.append(field_forbidden(_STATUS.child("allocation"), text))
        if now.get("allocation") is not None:
            faults += await self._drivers(attributes, now, then)
        return faults

    async def _drivers(
        self, attributes: Attributes, now: Mapping[str, Any], then: Mapping[str, Any]
    ) -> list[FieldError]:
        """Of each driver whose devices are told otherwise than before."""
        told, before = now.get("devices") or (), then.get("devices") or ()
        changed = {one.get("driver", "") for one in told if one not in before}
        changed |= {one.get("driver", "") for one in before if one not in told}
        places = ("associated-node", "arbitrary-node")
        verbs = [f"{place}:{_verb(attributes)}" for place in places[not _is_on_node(attributes, now["allocation"]) :]]
        faults = []
        for driver in sorted(changed):
            whys = [await self._refusal(attributes, verb, "driver", attributes.namespace, driver) for verb in verbs]
            if all(whys):
                text = f'changing status.devices requires resource="resourceclaims/driver", verb="[{" ".join(verbs)}]"'
                faults.append(field_forbidden(_STATUS.child("devices"), f"{text} permission: {whys[0]}"))
        return faults

    async def _refusal(
        self, attributes: Attributes, verb: str, subresource: str, namespace: str = "", name: str = ""
    ) -> str:
        """Why the user may not; empty: may."""
        gvr = attributes.resource.gvr
        asked = Asked(attributes.user, verb, gvr.group, gvr.version, gvr.plural, subresource, namespace, name)
        decision = await self._authorizer.authorize(asked)
        if decision.is_allowed:
            return ""
        return forbidden(asked, ": ".join(filter(None, (decision.error, decision.reason)))).message


def _verb(attributes: Attributes) -> str:
    """What the user asked for: an update, or a patch."""
    return "patch" if attributes.options.get("kind") == "PatchOptions" else "update"


def _claimed(obj: Mapping[str, Any], kind: str) -> Path | None:
    """Where a new claim, or a template, asks for administration. A template's place is told as a claim's, as upstream does."""
    spec = obj.get("spec") or {}
    if kind == "ResourceClaimTemplate":
        spec = spec.get("spec") or {}
    for i, request in enumerate((spec.get("devices") or {}).get("requests") or ()):
        if (request.get("exactly") or {}).get("adminAccess"):
            return Path("spec.devices.requests").index(i).child("adminAccess")
    return None


def _given(status: Mapping[str, Any]) -> Path | None:
    results: Sequence[Mapping[str, Any]] = ((status.get("allocation") or {}).get("devices") or {}).get("results") or ()
    for i, result in enumerate(results):
        if result.get("adminAccess"):
            return _STATUS.child("allocation.devices.results").index(i).child("adminAccess")
    return None


def _is_on_node(attributes: Attributes, allocation: Mapping[str, Any]) -> bool:
    """Whether a service account's pod is on the one node that the devices are on."""
    found = tuple(attributes.user.extra.get(_NODE_NAME) or ()) if attributes.user.service_account else ()
    terms = list((allocation.get("nodeSelector") or {}).get("nodeSelectorTerms") or ())
    if len(found) != 1 or len(terms) != 1 or terms[0].get("matchExpressions"):
        return False
    wanted = [{"key": "metadata.name", "operator": "In", "values": list(found)}]
    return bool(terms[0].get("matchFields") == wanted)
