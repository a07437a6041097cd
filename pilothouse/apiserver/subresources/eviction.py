"""`pods/eviction`: delete a pod if its PodDisruptionBudget has room. Source: `pkg/registry/core/pod/storage/eviction.go`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from pilothouse.api import selector
from pilothouse.api.kinds.policy.pod_disruption_budget import POD_DISRUPTION_BUDGET
from pilothouse.api.meta import Object, format_time, with_condition
from pilothouse.api.resource import Resource
from pilothouse.api.status import BadRequest, Cause, Conflict, StatusError, TooManyRequests, forbidden
from pilothouse.api.views.pod import PodView
from pilothouse.apiserver import metadata as rules
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.deletion import check_preconditions
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.options import DeleteOptions, delete_options_of, write_options
from pilothouse.apiserver.present import value_response
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.subresources.pods import SUCCESS
from pilothouse.apiserver.verbs.body import read_object
from pilothouse.apiserver.write import Write
from pilothouse.kit.http.message import Response
from pilothouse.store.cached import Cached

MAX_DISRUPTED_PODS = 2000
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
_CAUSE = "DisruptionBudget"


class Eviction:
    """Serves the subresource. `registry_of` gives the registry of PodDisruptionBudgets."""

    def __init__(self, registry_of: Callable[[Resource], Awaitable[Registry]]) -> None:
        self._registry_of = registry_of

    async def serve(self, call: Call, endpoint: Endpoint, now: float) -> Response:
        """Raises NotFound, TooManyRequests, Conflict."""
        created = write_options(call.query, "CreateOptions")
        eviction = read_object(call, endpoint.of(endpoint.subresources["eviction"]), created)
        name, namespace = call.info.name, call.info.namespace
        rules.set_namespace(eviction["metadata"], namespace)
        if eviction["metadata"].get("name") != name:
            raise BadRequest("name in URL does not match name in Eviction object")
        options = delete_options_of(eviction.get("deleteOptions") or {})
        options = replace(options, dry_run=options.dry_run or created.dry_run)
        registry = await endpoint.registry()
        attributes = Attributes(
            "CREATE",
            registry.resource,
            registry.resource.gvr,
            namespace,
            name,
            call.user,
            eviction,
            subresource="eviction",
            options=created.to_object(),
            is_dry_run=options.dry_run,
            warnings=call.warnings,
            annotations={} if call.annotations is None else call.annotations,
        )
        await registry.admission.mutate(attributes)
        await registry.admission.validate(attributes)
        await self._evict(call, registry, await registry.get(namespace, name), options, now)
        return value_response(call, 201, SUCCESS)

    async def _evict(self, call: Call, registry: Registry, cached: Cached, options: DeleteOptions, now: float) -> None:
        pod = PodView(cached.object())
        budget = ""
        guarded = options
        if pod.phase == "Pending" and not pod.is_deleting:
            # The pod must not have come to life between this look and its deletion.
            guarded = replace(options, resource_version=options.resource_version or cached.resource_version)
        elif not pod.is_terminal and not pod.is_deleting:
            budget, is_unguarded = await self._ask_budget(call, pod, options, now)
            if is_unguarded:
                guarded = replace(options, resource_version=options.resource_version or cached.resource_version)
        try:
            await self._delete(call, registry, cached, guarded, now)
        except Conflict:
            if budget and guarded is not options and options.resource_version is None:
                raise _still_processed(budget) from None
            raise

    async def _delete(self, call: Call, registry: Registry, cached: Cached, options: DeleteOptions, now: float) -> None:
        write = Write(
            call.user,
            cached.namespace,
            cached.name,
            dry_run=options.dry_run,
            options=options.to_object(),
            warnings=call.warnings,
        )

        async def condition(pod: Object) -> Object:
            check_preconditions(registry.resource, pod["metadata"], pod["metadata"]["resourceVersion"], options)
            status = pod.setdefault("status", {})
            disrupted = {
                "type": "DisruptionTarget",
                "status": "True",
                "lastProbeTime": None,
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
            }
            status["conditions"] = with_condition(status.get("conditions"), disrupted, now)
            return pod

        if options.dry_run:
            metadata = cached.object()["metadata"]
            check_preconditions(registry.resource, metadata, cached.resource_version, options)
        else:
            await registry.change(condition, write)
        await registry.delete(write, replace(options, resource_version=None))

    async def _ask_budget(self, call: Call, pod: PodView, options: DeleteOptions, now: float) -> tuple[str, bool]:
        """The budget that covers the pod, and whether the pod does not count in it because it is not healthy."""
        budgets = await self._registry_of(POD_DISRUPTION_BUDGET)
        await budgets.cacher.fresh()
        covering = [
            budget
            for budget in (cached.object() for cached in budgets.cacher.list(pod.namespace).items)
            if selector.from_object((budget.get("spec") or {}).get("selector")).matches(pod.labels)
        ]
        if not covering:
            return "", False
        if len(covering) > 1:
            raise StatusError(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                code=500,
            )
        budget = covering[0]
        name = budget["metadata"]["name"]
        if not pod.is_ready and _lets_unhealthy_go(budget):
            return name, True

        async def decrement(present: Object) -> Object:
            return decremented(present, pod.name, now)

        await budgets.change(decrement, Write(call.user, pod.namespace, name, "status", options.dry_run))
        return name, False


def _lets_unhealthy_go(budget: Mapping[str, Any]) -> bool:
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    desired: int = status.get("desiredHealthy", 0)
    return desired > 0 and int(status.get("currentHealthy", 0)) >= desired


def decremented(budget: Object, pod: str, now: float) -> Object:
    """The budget after one more disruption, which it changes. Raises TooManyRequests if it has no room, Forbidden if it is broken."""
    name = budget["metadata"]["name"]
    status = budget.setdefault("status", {})
    allowed = status.get("disruptionsAllowed", 0)
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _still_processed(name)
    if allowed < 0:
        raise forbidden("poddisruptionbudget", "policy", name, "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or {}) > MAX_DISRUPTED_PODS:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise forbidden("poddisruptionbudget", "policy", name, why)
    if allowed == 0:
        raise TooManyRequests(_REFUSED, causes=[Cause(_CAUSE, _no_room(name, status))])
    status["disruptionsAllowed"] = allowed - 1
    if allowed == 1:
        condition = {
            "type": "DisruptionAllowed",
            "status": "False",
            "reason": "InsufficientPods",
            "message": "",
            "observedGeneration": status.get("observedGeneration", 0),
        }
        status["conditions"] = with_condition(status.get("conditions"), condition, now)
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod: format_time(now)}
    return budget


def _no_room(name: str, status: Mapping[str, Any]) -> str:
    condition = next((each for each in status.get("conditions") or () if each["type"] == "DisruptionAllowed"), None)
    why = condition.get("message", "") if condition is not None and condition["status"] == "False" else ""
    desired, current = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
    if condition is not None and why and condition.get("reason") == "SyncFailed":
        return f"The disruption budget {name} does not allow evicting pods currently because it failed sync: {why}"
    if current <= desired:
        return f"The disruption budget {name} needs {desired} healthy pods and has {current} currently"
    if condition is not None and why:
        return f"The disruption budget {name} does not allow evicting pods currently ({condition.get('reason')}): {why}"
    return f"The disruption budget {name} does not allow evicting pods currently"


def _still_processed(name: str) -> TooManyRequests:
    cause = Cause(_CAUSE, f"The disruption budget {name} is still being processed by the server.")
    return TooManyRequests(_REFUSED, causes=[cause], retry_after_s=10)
