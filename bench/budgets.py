"""The budgets: the one table that measurements are held against. They apply to a machine with two cores."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """What a measurement may be at most (`is_floor`: must be at least) in `unit`; None for one that is only shown."""

    name: str
    what: str
    unit: str
    limit: float | None
    is_floor: bool = False

    def is_met(self, value: float) -> bool | None:
        if self.limit is None:
            return None
        return value >= self.limit if self.is_floor else value <= self.limit

    def ratio(self, value: float) -> float | None:
        """How many times the budget is used up; above 1 is a miss. None without a limit, or for nothing where something was due."""
        if not self.limit:
            return None
        if self.is_floor:
            return self.limit / value if value else None
        return value / self.limit


BUDGETS: tuple[Budget, ...] = (
    Budget("startup.first.api", "first start: command to API ready", "s", None),
    Budget("startup.first.node", "first start: command to nodes Ready", "s", None),
    Budget("startup.api", "start with certificates: command to API ready", "s", 0.8),
    Budget("startup.node", "start with certificates: command to nodes Ready", "s", 1.5),
    Budget("idle.memory", "idle: memory of all Pilothouse processes (PSS)", "MB", 200),
    Budget("idle.cpu", "idle: CPU of all Pilothouse processes", "% of a core", 2),
    Budget("verbs.get_configmap", "GET a ConfigMap", "ms CPU", 0.06),
    Budget("verbs.get_pod", "GET a Pod", "ms CPU", 0.06),
    Budget("verbs.list", "LIST 1,000 Pods of 4 KB", "ms CPU", 5),
    Budget("verbs.list_label", "LIST 100 of 1,000 Pods by label", "ms CPU", 0.6),
    Budget("verbs.post_configmap", "POST a ConfigMap, durable", "ms CPU", 0.25),
    Budget("verbs.post_pod", "POST a Pod, durable", "ms CPU", 0.45),
    Budget("verbs.patch_labels", "PATCH labels of a Pod (merge)", "ms CPU", 0.45),
    Budget("verbs.patch_status", "PATCH status of a Pod (strategic)", "ms CPU", 0.45),
    Budget("verbs.apply", "server-side apply of a ConfigMap", "ms CPU", 0.45),
    Budget("verbs.bystander", "POST a ConfigMap beside 100 webhooks and policies for other kinds", "ms CPU", 0.25),
    Budget("verbs.put", "PUT a ConfigMap", "ms CPU", None),
    Budget("verbs.delete", "DELETE a ConfigMap", "ms CPU", None),
    Budget("fanout.event", "watch: an event to one of 200 watchers", "µs CPU", 15),
    Budget("memory.loaded", "memory of all processes with 30,000 small objects and 1,000 Pods (PSS)", "MB", 300),
    Budget("pods.ready", "Pod created to Ready, one at a time, p50", "s", 0.2),
    Budget("pods.gone", "Pod deleted to gone, p50", "s", 0.25),
    Budget("pods.many", "50 Pods created at once, all Ready", "s", 4.5),
    Budget("pods.runtime", "the runtime alone: sandbox, create, start, p50", "s", None),
    Budget("pods.runtime_stop", "the runtime alone: stop and remove both, p50", "s", None),
    Budget("scheduling.plain", "3,000 Pods on 1,000 nodes: plain", "pods/s", 400, is_floor=True),
    Budget("scheduling.spread", "3,000 Pods on 1,000 nodes: spread over zones", "pods/s", 350, is_floor=True),
    Budget("scheduling.affinity", "3,000 Pods on 1,000 nodes: preferred anti-affinity", "pods/s", 300, is_floor=True),
)


def budget(name: str) -> Budget:
    return next(found for found in BUDGETS if found.name == name)
