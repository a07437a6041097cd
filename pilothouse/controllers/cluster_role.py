"""Keeps the rules of aggregated ClusterRoles. The one key stands for all roles.

Source: upstream `pkg/controller/clusterroleaggregation`.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import cluster_role, meta, status
from pilothouse.api.gvr import CLUSTER_ROLES
from pilothouse.api.meta import Object
from pilothouse.client.client import PatchType
from pilothouse.controllers.runtime import Context, Controller

EVERYTHING = "*"
FIELD_MANAGER = "clusterrole-aggregation-controller"


class ClusterRoleAggregationController(Controller):
    """The control loop."""

    name = "clusterrole-aggregation-controller"
    account = "clusterrole-aggregation-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._roles = context.informers.of(CLUSTER_ROLES)
        self.follow(self._roles, self._changed)

    async def reconcile(self, key: str) -> float | None:
        for role in cluster_role.updates(self._roles.list()):
            applied = {
                "apiVersion": CLUSTER_ROLES.api_version,
                "kind": CLUSTER_ROLES.kind,
                "metadata": {"name": meta.name_of(role)},
                "rules": role["rules"],
            }
            try:
                await self._write(role, applied)
            except status.NotFound:
                continue
        return None

    async def _write(self, role: Object, applied: Object) -> None:
        try:
            await self.client.patch(
                CLUSTER_ROLES,
                "",
                meta.name_of(role),
                applied,
                type=PatchType.APPLY,
                field_manager=FIELD_MANAGER,
                force=True,
            )
        except status.UnsupportedMediaType:
            # A server without server-side apply: then the whole role is written.
            await self.client.update(CLUSTER_ROLES, role)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if _traits(old) != _traits(new):
            self.queue.add(EVERYTHING)


def _traits(role: Object | None) -> tuple[Any, ...] | None:
    return None if role is None else (meta.labels_of(role), role.get("rules"), role.get("aggregationRule"))
