"""The flow schemas and priority levels that a cluster starts with.

They are API objects that administrators read and change; the values are upstream's. Source: KEP-1040,
apiserver `pkg/apis/flowcontrol/bootstrap/default.go`.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api.meta import Object

_API_VERSION = "flowcontrol.apiserver.k8s.io/v1"
_ALL = ["*"]
_EVERYTHING: Object = {
    "resourceRules": [{"verbs": _ALL, "apiGroups": _ALL, "resources": _ALL, "clusterScope": True, "namespaces": _ALL}],
    "nonResourceRules": [{"verbs": _ALL, "nonResourceURLs": _ALL}],
}
_EVERYBODY = ("system:unauthenticated", "system:authenticated")

# Name, shares of concurrency, percentage that may be lent, queues, queues of one flow.
_LEVELS = (
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
)
_QUEUE_LENGTH = 50


def priority_levels() -> list[Object]:
    levels = [
        _level("exempt", {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
        _level(
            "catch-all",
            {
                "type": "Limited",
                "limited": {
                    "nominalConcurrencyShares": 5,
                    "lendablePercent": 0,
                    "limitResponse": {"type": "Reject"},
                },
            },
        ),
    ]
    for name, shares, lendable, queues, hand in _LEVELS:
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": _QUEUE_LENGTH}
        limited = {
            "nominalConcurrencyShares": shares,
            "lendablePercent": lendable,
            "limitResponse": {"type": "Queue", "queuing": queuing},
        }
        levels.append(_level(name, {"type": "Limited", "limited": limited}))
    return levels


def flow_schemas() -> list[Object]:
    managers = ["system:kube-controller-manager", "system:kube-scheduler"]
    kube_system = [{"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}}]
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": _ALL}
    nodes = {"apiGroups": [""], "resources": ["nodes", "nodes/status"], "clusterScope": True, "namespaces": _ALL}
    health = {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}
    return [
        _schema("exempt", "exempt", 1, "", _groups("system:masters"), _EVERYTHING),
        _schema("probes", "exempt", 2, "", _groups(*_EVERYBODY), {"nonResourceRules": [health]}),
        _schema(
            "system-leader-election",
            "leader-election",
            100,
            "ByUser",
            [*_users(*managers), *kube_system],
            {"resourceRules": [{"verbs": ["get", "create", "update"], **leases}]},
        ),
        _schema(
            "system-node-high",
            "node-high",
            400,
            "ByUser",
            _groups("system:nodes"),
            {"resourceRules": [{"verbs": _ALL, **nodes}, {"verbs": _ALL, **leases}]},
        ),
        _schema("system-nodes", "system", 500, "ByUser", _groups("system:nodes"), _EVERYTHING),
        *(
            _schema(name.removeprefix("system:"), "workload-high", 800, "ByNamespace", _users(name), _EVERYTHING)
            for name in managers
        ),
        _schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", kube_system, _EVERYTHING),
        _schema("service-accounts", "workload-low", 9000, "ByUser", _groups("system:serviceaccounts"), _EVERYTHING),
        _schema("global-default", "global-default", 9900, "ByUser", _groups(*_EVERYBODY), _EVERYTHING),
        _schema("catch-all", "catch-all", 10000, "ByUser", _groups(*_EVERYBODY), _EVERYTHING),
    ]


def _level(name: str, spec: Object) -> Object:
    return {
        "kind": "PriorityLevelConfiguration",
        "apiVersion": _API_VERSION,
        "metadata": _metadata(name),
        "spec": spec,
    }


def _schema(
    name: str, level: str, precedence: int, distinguisher: str, subjects: Sequence[Object], rules: Object
) -> Object:
    spec: Object = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [{"subjects": list(subjects), **rules}],
    }
    if distinguisher:
        spec["distinguisherMethod"] = {"type": distinguisher}
    return {"kind": "FlowSchema", "apiVersion": _API_VERSION, "metadata": _metadata(name), "spec": spec}


def _metadata(name: str) -> Object:
    return {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}}


def _groups(*names: str) -> list[Object]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _users(*names: str) -> list[Object]:
    return [{"kind": "User", "user": {"name": name}} for name in names]
