"""The AdmissionRequest: a write as webhooks and expressions see it. Source: `admission/v1/types.go`, `plugin/webhook/request`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.apiserver.attributes import Attributes


async def object_at(obj: Mapping[str, Any] | None, attributes: Attributes, gvr: GVR) -> Mapping[str, Any] | None:
    """An object of a write in another version of its kind. Raises StatusError where a webhook converts and fails."""
    if obj is None:
        return None
    own = attributes.resource.gvr
    if gvr == own or not _is_of_kind(obj, own):
        return obj
    if attributes.translation is not None:
        return await attributes.translation.at({**obj}, gvr)
    if gvr.group == own.group and gvr not in attributes.resource.other_versions:
        return {**obj, "apiVersion": gvr.api_version}
    from pilothouse.api.convert import convert

    return convert({**obj}, own, gvr)


async def stored_form(obj: Object, attributes: Attributes, gvr: GVR) -> Object:
    """The way back."""
    own = attributes.resource.gvr
    if gvr == own or not _is_of_kind(obj, gvr):
        return obj
    if attributes.translation is not None:
        return await attributes.translation.at(obj, own)
    if gvr.group == own.group and gvr not in attributes.resource.other_versions:
        return {**obj, "apiVersion": own.api_version}
    from pilothouse.api.convert import convert

    return convert({**obj}, gvr, own)


def _is_of_kind(obj: Mapping[str, Any], gvr: GVR) -> bool:
    """Whether an object is of the kind itself, rather than what a subresource speaks."""
    return bool(obj.get("kind", gvr.kind) == gvr.kind)


def admission_request(attributes: Attributes, gvr: GVR) -> Object:
    """The request without its objects and its uid; `gvr` is the version by which a rule matched."""
    kind = _kind(attributes, gvr)
    asked = _kind(attributes, attributes.gvr)
    request: Object = {
        "kind": kind,
        "resource": {"group": gvr.group, "version": gvr.version, "resource": gvr.plural},
        "requestKind": asked,
        "requestResource": {
            "group": attributes.gvr.group,
            "version": attributes.gvr.version,
            "resource": attributes.gvr.plural,
        },
        "operation": attributes.operation,
        "userInfo": attributes.user.to_object(),
        "dryRun": attributes.is_dry_run,
    }
    if attributes.subresource:
        request["subResource"] = request["requestSubResource"] = attributes.subresource
    if attributes.name:
        request["name"] = attributes.name
    namespace = attributes.namespace
    if not namespace and gvr.plural == "namespaces" and not gvr.group:
        namespace = attributes.name
    if namespace:
        request["namespace"] = namespace
    return request


def _kind(attributes: Attributes, gvr: GVR) -> Object:
    group, version, kind = gvr.group, gvr.version, gvr.kind
    if attributes.subresource:
        api_version = (attributes.obj or {}).get("apiVersion")
        own = (attributes.obj or {}).get("kind")
        if api_version and own and own != kind:
            group, _, version = api_version.rpartition("/")
            kind = own
    return {"group": group, "version": version, "kind": kind}
