"""Gives every Namespace its `default` ServiceAccount. Source: upstream `pkg/controller/serviceaccount`."""

from __future__ import annotations

from pilothouse.api import meta, status
from pilothouse.api.gvr import NAMESPACES, SERVICE_ACCOUNTS
from pilothouse.api.meta import Object
from pilothouse.api.views.namespace import NamespaceView
from pilothouse.controllers.pods import is_namespace_terminating
from pilothouse.controllers.runtime import Context, Controller

DEFAULT = "default"


class ServiceAccountController(Controller):
    """A key is a Namespace's name."""

    name = "serviceaccount-controller"
    account = "service-account-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = context.informers.of(NAMESPACES)
        self._accounts = context.informers.of(SERVICE_ACCOUNTS)
        self.follow(self._namespaces, self.enqueue)
        self.follow(self._accounts, self._account_changed)

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or not NamespaceView(namespace).is_active:
            return None
        if self._accounts.get(meta.join_key(key, DEFAULT)) is not None:
            return None
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEFAULT, "namespace": key}}
        try:
            await self.client.create(SERVICE_ACCOUNTS, account)
        except status.AlreadyExists:
            return None
        except status.StatusError as error:
            if not is_namespace_terminating(error):
                raise
        return None

    def _account_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None and meta.name_of(old) == DEFAULT:
            self.queue.add(meta.namespace_of(old))
