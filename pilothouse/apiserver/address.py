"""Whether a request's path and its verb go with the kind that they name."""

from __future__ import annotations

from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.errors import could_not_find, method_not_allowed
from pilothouse.apiserver.route import RequestInfo

COLLECTION_READS = frozenset({"list", "watch"})


def check_address(endpoint: Endpoint, info: RequestInfo) -> None:
    """Check that the path has a namespace where the kind has one; a collection may be read across all namespaces.

    Raises NotFound, or MethodNotAllowed for what can only be read there.
    """
    if endpoint.gvr.namespaced:
        if info.namespace or info.verb in COLLECTION_READS:
            return
        if "/" not in info.path.rstrip("/").partition(f"/{info.resource}")[2]:
            raise method_not_allowed()
    elif not info.namespace or endpoint.gvr.plural == "namespaces":
        return
    raise could_not_find()


def is_routed(info: RequestInfo) -> bool:
    """Whether the verb goes with an object's path or with its collection's, as the path is."""
    match info.verb:
        case "create":
            return not info.name
        case "update" | "patch":
            return bool(info.name)
    return True
