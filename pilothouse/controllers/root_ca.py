"""Publishes the API server's authority in every Namespace, for pods to verify the server by.

Source: upstream `pkg/controller/certificates/rootcacertpublisher`.
"""

from __future__ import annotations

from pilothouse.api import meta, status
from pilothouse.api.gvr import CONFIG_MAPS, NAMESPACES
from pilothouse.api.meta import Object
from pilothouse.api.views.namespace import NamespaceView
from pilothouse.controllers.pods import is_namespace_terminating
from pilothouse.controllers.runtime import Context, Controller

NAME = "kube-root-ca.crt"
DESCRIPTION_ANNOTATION = "kubernetes.io/description"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service "
    "IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)


class RootCAPublisher(Controller):
    """A key is a Namespace's name."""

    name = "root-ca-certificate-publisher-controller"
    account = "root-ca-cert-publisher"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._data = {"ca.crt": context.options.root_ca}
        self._namespaces = context.informers.of(NAMESPACES)
        self._maps = context.informers.of(CONFIG_MAPS, field_selector=f"metadata.name={NAME}")
        self.follow(self._namespaces, self.enqueue)
        self.follow(self._maps, self._map_changed)

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if not self._data["ca.crt"] or namespace is None or not NamespaceView(namespace).is_active:
            return None
        present = self._maps.get(meta.join_key(key, NAME))
        try:
            if present is None:
                await self.client.create(CONFIG_MAPS, self._map(key, {"name": NAME, "namespace": key}))
            elif present.get("data") != self._data or DESCRIPTION_ANNOTATION not in meta.annotations_of(present):
                await self.client.update(CONFIG_MAPS, self._map(key, present["metadata"]))
        except (status.AlreadyExists, status.NotFound):
            # Somebody was faster: the watch brings the key back.
            return None
        except status.StatusError as error:
            if not is_namespace_terminating(error):
                raise
        return None

    def _map(self, namespace: str, metadata: Object) -> Object:
        annotations = {**(metadata.get("annotations") or {}), DESCRIPTION_ANNOTATION: DESCRIPTION}
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {**metadata, "annotations": annotations},
            "data": self._data,
        }

    def _map_changed(self, old: Object | None, new: Object | None) -> None:
        changed = new if new is not None else old
        if changed is not None:
            self.queue.add(meta.namespace_of(changed))
