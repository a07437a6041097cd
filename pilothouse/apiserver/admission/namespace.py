"""NamespaceLifecycle: objects are created in namespaces that exist and stay.

Source: apiserver `pkg/admission/plugin/namespace/lifecycle`.
"""

from __future__ import annotations

from pilothouse.api import gvr as kinds
from pilothouse.api import status
from pilothouse.api.meta import is_deleting
from pilothouse.apiserver.admission.plugin import Plugin, forbidden
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.objects import Objects

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


class NamespaceLifecycle(Plugin):
    name = "NamespaceLifecycle"
    operations = frozenset({"CREATE", "UPDATE", "DELETE"})

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def mutate(self, attributes: Attributes) -> None:
        gvr = attributes.resource.gvr
        if gvr.plural == "namespaces" and not gvr.group:
            if attributes.operation == "DELETE" and attributes.name in IMMORTAL:
                raise status.forbidden("namespaces", "", attributes.name, "this namespace may not be deleted")
            return
        if attributes.operation == "DELETE" or not attributes.namespace or gvr.plural == "localsubjectaccessreviews":
            return
        namespace = await self._objects.get(kinds.NAMESPACES, "", attributes.namespace)
        if namespace is None:
            raise status.not_found("namespaces", "", attributes.namespace)
        if attributes.operation != "CREATE":
            return
        if not is_deleting(namespace) and (namespace.get("status") or {}).get("phase") != "Terminating":
            return
        error = forbidden(
            attributes,
            f"unable to create new content in namespace {attributes.namespace} because it is being terminated",
        )
        message = f"namespace {attributes.namespace} is being terminated"
        error.causes = (status.Cause("NamespaceTerminating", message, "metadata.namespace"),)
        raise error
