"""`namespaces/finalize`: how the namespace controller says that a namespace is empty. Source: `pkg/registry/core/namespace`."""

from __future__ import annotations

from pilothouse.api.meta import Object
from pilothouse.api.validate.namespace import validate_namespace_finalize
from pilothouse.apiserver import metadata as rules
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.options import write_options
from pilothouse.apiserver.present import object_response
from pilothouse.apiserver.tracking import tracking
from pilothouse.apiserver.verbs.body import read_object
from pilothouse.apiserver.write import Write
from pilothouse.kit.http.message import Response


async def finalize(call: Call, endpoint: Endpoint, now: float) -> Response:
    """Take over `spec.finalizers`; a deleted namespace without any is gone. Raises NotFound, Conflict, Invalid."""
    options = write_options(call.query, "UpdateOptions")
    sent = read_object(call, endpoint, options)
    name = call.info.name
    rules.check_name(sent, "", name)
    registry = await endpoint.registry()
    track = tracking(call, endpoint, options)
    write = Write(call.user, name, name, "finalize", options.dry_run, options.to_object(), call.warnings, track)

    async def change(present: Object) -> Object:
        if revision := sent["metadata"].get("resourceVersion"):
            present["metadata"]["resourceVersion"] = revision
        finalizers = (sent.get("spec") or {}).get("finalizers")
        spec = present.setdefault("spec", {})
        if finalizers:
            spec["finalizers"] = finalizers
        else:
            spec.pop("finalizers", None)
        return present

    wire = await registry.update(change, write, check=validate_namespace_finalize)
    return await object_response(call, endpoint, 200, wire, now)
