"""Whether a request's path and its verb go with the kind that they name."""

from __future__ import annotations

from pilothouse.api.status import BadRequest, MethodNotAllowed, not_found
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.errors import PageNotFound, could_not_find, method_not_allowed
from pilothouse.apiserver.route import RequestInfo

COLLECTION_READS = frozenset({"list", "watch"})


def check_address(endpoint: Endpoint, info: RequestInfo) -> None:
    """Check that the path has a namespace where the kind has one; a collection may be read across all namespaces.

    Raises NotFound, or MethodNotAllowed for what can only be read there; for a custom kind as `_check_custom` does.
    """
    if endpoint.is_custom:
        _check_custom(endpoint, info)
        return
    if endpoint.gvr.namespaced:
        if info.namespace or info.verb in COLLECTION_READS:
            return
        if "/" not in info.path.rstrip("/").partition(f"/{info.resource}")[2]:
            raise method_not_allowed()
    elif not info.namespace or endpoint.gvr.plural == "namespaces":
        return
    raise could_not_find()


def _check_custom(endpoint: Endpoint, info: RequestInfo) -> None:
    """Check that a custom kind has what is addressed; upstream's handler of custom resources has words of its own for that.

    Raises PageNotFound, NotFound, MethodNotAllowed, BadRequest.
    Source: apiextensions-apiserver `pkg/apiserver/customresource_handler.go`, `ServeHTTP`.
    """
    gvr = endpoint.gvr
    if bool(info.namespace) is not gvr.namespaced and not (gvr.namespaced and info.verb in COLLECTION_READS):
        raise PageNotFound
    verbs = endpoint.verbs
    if info.subresource:
        subresource = endpoint.subresources.get(info.subresource)
        if subresource is None:
            raise not_found(gvr.plural, gvr.group, info.name)
        verbs = frozenset(subresource.verbs)
    if info.verb not in verbs:
        why = f'{info.verb} is not supported on resources of kind "{info.group_resource}"'
        raise MethodNotAllowed(why, group=gvr.group, kind=gvr.plural)
    if not info.name and info.verb in ("update", "patch"):
        raise BadRequest("name must be provided")


def is_routed(endpoint: Endpoint, info: RequestInfo) -> bool:
    """Whether the verb goes with an object's path or with its collection's, as the path is."""
    if endpoint.is_custom:
        return True
    match info.verb:
        case "create":
            return not info.name
        case "update" | "patch":
            return bool(info.name)
    return True
