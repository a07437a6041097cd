"""Conversion between versions."""

from __future__ import annotations

import orjson
import pytest

from pilothouse.api import gvr
from pilothouse.api.convert import convert
from pilothouse.api.meta import Object

V1, V2 = gvr.HORIZONTAL_POD_AUTOSCALERS_V1, gvr.HORIZONTAL_POD_AUTOSCALERS
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}
TARGET = {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}


def test_versions_without_a_conversion_are_refused() -> None:
    with pytest.raises(ValueError, match="no conversion"):
        convert({}, gvr.PODS, gvr.DEPLOYMENTS)


def test_events_are_the_same_under_other_names() -> None:
    event: Object = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod"},
        "message": "m",
        "source": {"component": "c"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "count": 3,
        "reportingComponent": "r",
        "type": "Normal",
    }
    newer = convert(event, gvr.CORE_EVENTS, gvr.EVENTS)
    assert newer == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "regarding": {"kind": "Pod"},
        "note": "m",
        "deprecatedSource": {"component": "c"},
        "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z",
        "deprecatedCount": 3,
        "reportingController": "r",
        "type": "Normal",
    }
    assert convert(newer, gvr.EVENTS, gvr.CORE_EVENTS) == event


def test_an_autoscaler_survives_the_older_version() -> None:
    autoscaler: Object = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "a", "annotations": {"mine": "yes"}},
        "spec": {
            "scaleTargetRef": TARGET,
            "maxReplicas": 5,
            "metrics": [
                {
                    "type": "External",
                    "external": {
                        "metric": {"name": "queue", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "30"},
                    },
                },
                {
                    "type": "Object",
                    "object": {
                        "metric": {"name": "hits"},
                        "describedObject": TARGET,
                        "target": {"type": "Value", "value": "1k"},
                    },
                },
                CPU,
            ],
            "behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
        },
        "status": {
            "desiredReplicas": 2,
            "currentMetrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "current": {"averageUtilization": 50, "averageValue": "1"}},
                }
            ],
            "conditions": [{"type": "AbleToScale", "status": "True"}],
        },
    }
    older = convert(autoscaler, V2, V1)
    assert older["spec"] == {"scaleTargetRef": TARGET, "maxReplicas": 5, "targetCPUUtilizationPercentage": 60}
    assert older["status"] == {"currentReplicas": 0, "desiredReplicas": 2, "currentCPUUtilizationPercentage": 50}
    annotations = older["metadata"]["annotations"]
    metrics = orjson.loads(annotations["autoscaling.alpha.kubernetes.io/metrics"])
    assert metrics[0]["external"] == {
        "metricName": "queue",
        "metricSelector": {"matchLabels": {"a": "b"}},
        "targetAverageValue": "30",
    }
    behavior = orjson.loads(annotations["autoscaling.alpha.kubernetes.io/behavior"])
    assert behavior == {"ScaleDown": {"Policies": [{"Type": "Pods", "Value": 1, "PeriodSeconds": 60}]}}
    assert convert(older, V1, V2) == autoscaler


def test_an_autoscaler_of_the_older_version() -> None:
    older: Object = {"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 60}}
    newer = convert(older, V1, V2)
    assert newer["spec"] == {"maxReplicas": 3, "metrics": [CPU]}
    assert newer["apiVersion"] == "autoscaling/v2"


@pytest.mark.parametrize("text", ["not json", "{}", "[1]"])
def test_annotations_that_cannot_be_read_are_dropped(text: str) -> None:
    metadata = {"name": "a", "annotations": {"autoscaling.alpha.kubernetes.io/metrics": text}}
    newer = convert({"metadata": metadata, "spec": {"maxReplicas": 3}}, V1, V2)
    assert newer["metadata"] == {"name": "a"}
    assert newer["spec"] == {"maxReplicas": 3}
