"""Deleting a pod that something other than its user decided against, with the reason in its conditions. Source: KEP-3329."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api import meta, status
from pilothouse.api.gvr import PODS
from pilothouse.api.views.pod import PodView
from pilothouse.client.client import Client, PatchType

CONDITION = "DisruptionTarget"


async def disrupt(
    client: Client,
    pod: Mapping[str, Any],
    reason: str,
    message: str,
    now: float,
    *,
    fail: bool = False,
    grace_period_s: int | None = None,
) -> None:
    """Mark and delete `pod`. `fail` ends it first: nobody is left to report how it ends. A pod that is gone is no error."""
    view = PodView(pod)
    patch: dict[str, Any] = {}
    if reason and not meta.is_condition_true(view.conditions, CONDITION):
        condition = {
            "type": CONDITION,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": meta.format_time(now),
            "observedGeneration": view.generation,
        }
        patch["conditions"] = [{name: value for name, value in condition.items() if value}]
    if fail and not view.is_terminal:
        patch["phase"] = "Failed"
    try:
        if patch:
            body = {"metadata": {"uid": view.uid}, "status": patch}
            await client.patch(PODS, view.namespace, view.name, body, type=PatchType.STRATEGIC, subresource="status")
        await client.delete(PODS, view.namespace, view.name, uid=view.uid, grace_period_s=grace_period_s)
    except status.NotFound:
        return
