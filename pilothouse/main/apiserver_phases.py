"""The parts of an API server's start, and what each begins, under the names by which `/readyz` tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Phase(Enum):
    """The parts of a start. What one of them begins is announced when it is done."""

    FLOW_CONTROL = "flow control"
    EXTENSIONS = "admission and custom resources"
    BOOTSTRAP = "what a cluster has from its first moment"
    AGGREGATION = "extension servers"


HOOKS: Mapping[str, Phase] = {
    "start-apiserver-admission-initializer": Phase.EXTENSIONS,
    "generic-apiserver-start-informers": Phase.FLOW_CONTROL,
    "priority-and-fairness-config-consumer": Phase.FLOW_CONTROL,
    "priority-and-fairness-filter": Phase.FLOW_CONTROL,
    "storage-object-count-tracker-hook": Phase.FLOW_CONTROL,
    "storage-readiness": Phase.FLOW_CONTROL,
    "start-apiextensions-informers": Phase.EXTENSIONS,
    "start-apiextensions-controllers": Phase.EXTENSIONS,
    "crd-informer-synced": Phase.EXTENSIONS,
    "start-system-namespaces-controller": Phase.BOOTSTRAP,
    "start-cluster-authentication-info-controller": Phase.AGGREGATION,
    "start-service-ip-repair-controllers": Phase.AGGREGATION,
    "rbac/bootstrap-roles": Phase.BOOTSTRAP,
    "scheduling/bootstrap-system-priority-classes": Phase.BOOTSTRAP,
    "priority-and-fairness-config-producer": Phase.BOOTSTRAP,
    "bootstrap-controller": Phase.BOOTSTRAP,
    "start-kubernetes-service-cidr-controller": Phase.BOOTSTRAP,
    "start-kube-aggregator-informers": Phase.AGGREGATION,
    "apiservice-status-local-available-controller": Phase.AGGREGATION,
    "apiservice-status-remote-available-controller": Phase.AGGREGATION,
    "apiservice-registration-controller": Phase.AGGREGATION,
    "apiservice-discovery-controller": Phase.AGGREGATION,
    "kube-apiserver-autoregistration": Phase.AGGREGATION,
    "autoregister-completion": Phase.AGGREGATION,
    "apiservice-openapi-controller": Phase.AGGREGATION,
    "apiservice-openapiv3-controller": Phase.AGGREGATION,
}
"""What the server begins before it serves, under upstream's names and in its order."""


def hooks_of(phase: Phase) -> list[str]:
    return [hook for hook, begun in HOOKS.items() if begun is phase]
