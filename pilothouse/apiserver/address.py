"""Whether a request's path and its verb go with the kind that they name."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.status import BadRequest, MethodNotAllowed, not_found
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.errors import PageNotFound, could_not_find, method_not_allowed
from pilothouse.apiserver.route import RequestInfo

COLLECTION_READS = frozenset({"list", "watch"})
_OF_COLLECTIONS = frozenset({"list", "create", "deletecollection"})
_OF_OBJECTS = frozenset({"get", "update", "patch", "delete"})


def check_address(endpoint: Endpoint, info: RequestInfo, method: str) -> None:
    """Check that the kind has the path that is addressed, and that the verb goes with an object or a collection, as the path does.

    Raises NotFound for a path that upstream's router does not have, MethodNotAllowed for one that it has for other methods; for a
    custom kind what `_check_custom` raises.
    """
    if endpoint.is_custom:
        _check_custom(endpoint, info)
        return
    verb = info.verb
    if verb == "watch" and (method != "GET" or info.subresource):
        raise method_not_allowed() if "watch" in endpoint.verbs and not info.subresource else could_not_find()
    if endpoint.gvr.namespaced:
        if not info.namespace:
            _check_across_namespaces(endpoint, info)
    elif info.namespace and not (endpoint.gvr.plural == "namespaces" and info.name):
        raise could_not_find()
    if info.subresource:
        return
    if verb in endpoint.verbs:
        if (verb == "create" and info.name) or (verb in ("update", "patch") and not info.name):
            raise method_not_allowed() if _has(endpoint, _of(info)) else could_not_find()
        return
    if verb == "watch" and "list" in endpoint.verbs and not _is_old_watch(info):
        kind = endpoint.gvr.plural
        raise MethodNotAllowed(
            f'watch is not supported on resources of kind "{kind}"', group=endpoint.gvr.group, kind=kind
        )
    if verb == "proxy" or (verb == "watch" and _is_old_watch(info)) or not _has(endpoint, _of(info)):
        raise could_not_find()
    raise method_not_allowed()


def _check_across_namespaces(endpoint: Endpoint, info: RequestInfo) -> None:
    """A collection may be read across all namespaces, and nothing else. Raises NotFound, MethodNotAllowed."""
    if info.verb in COLLECTION_READS and "list" in endpoint.verbs:
        return
    is_collection = "/" not in info.path.rstrip("/").partition(f"/{info.resource}")[2]
    raise method_not_allowed() if is_collection and "list" in endpoint.verbs else could_not_find()


def _of(info: RequestInfo) -> Iterable[str]:
    return _OF_OBJECTS if info.name else _OF_COLLECTIONS


def _has(endpoint: Endpoint, verbs: Iterable[str]) -> bool:
    return not endpoint.verbs.isdisjoint(verbs)


def _is_old_watch(info: RequestInfo) -> bool:
    """Whether the path itself asks for a watch."""
    return info.path.split("/")[3 if info.api_prefix == "api" else 4] == "watch"


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
