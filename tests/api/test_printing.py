"""Tables and metadata."""

from __future__ import annotations

import pytest

from pilothouse.api import printing
from pilothouse.api.duration import age, human_duration
from pilothouse.api.kinds.apps.deployment import DEPLOYMENT
from pilothouse.api.kinds.core.event import EVENT
from pilothouse.api.kinds.core.pod import POD
from pilothouse.api.kinds.rbac.role import ROLE
from pilothouse.api.meta import Object, parse_time
from pilothouse.api.resource import Resource

CREATED = "2026-01-01T00:00:00Z"
NOW = parse_time("2026-01-01T01:00:00Z")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (731 * 86400, "2y1d"),
        (3000 * 86400, "8y"),
    ],
)
def test_durations_for_people(seconds: int, shown: str) -> None:
    assert human_duration(seconds) == shown


def test_no_timestamp_has_no_age() -> None:
    assert age(None, NOW) == "<unknown>"


def test_a_table_of_deployments() -> None:
    deployment: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "creationTimestamp": CREATED},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y"}]}},
        },
        "status": {"readyReplicas": 1, "updatedReplicas": 3},
    }
    table = printing.to_table(DEPLOYMENT, [deployment], NOW, metadata={"resourceVersion": "7"})
    assert (table["kind"], table["apiVersion"], table["metadata"]) == (
        "Table",
        "meta.k8s.io/v1",
        {"resourceVersion": "7"},
    )
    assert [column["name"] for column in table["columnDefinitions"] if not column["priority"]] == [
        "Name",
        "Ready",
        "Up-to-date",
        "Available",
        "Age",
    ]
    (row,) = table["rows"]
    assert row["cells"] == ["web", "1/3", 3, 0, "60m", "a,b", "x:1,y", "app=web"]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert row["object"]["metadata"] == deployment["metadata"]


@pytest.mark.parametrize(
    ("include", "kind"), [("None", None), ("Metadata", "PartialObjectMetadata"), ("Object", "Pod")]
)
def test_rows_carry_what_is_asked_for(include: str, kind: str | None) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "status": {"phase": "Succeeded"}}
    (row,) = printing.to_table(POD, [pod], NOW, include=include, version="v1beta1")["rows"]
    assert (row["object"] or {}).get("kind") == kind
    assert row["conditions"][0]["reason"] == "Succeeded"


def test_kinds_without_columns_of_their_own() -> None:
    obj = {"metadata": {"name": "a", "creationTimestamp": CREATED}}
    assert printing.to_table(ROLE, [obj], NOW)["rows"][0]["cells"] == ["a", CREATED]
    assert printing.to_table(Resource(ROLE.gvr), [obj], NOW)["rows"][0]["cells"] == ["a", "60m"]


def test_an_event_reads_the_same_in_both_versions() -> None:
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "a"},
        "reason": "Started",
        "type": "Normal",
        "message": " Started container \n",
        "source": {"component": "kubelet", "host": "n"},
        "firstTimestamp": CREATED,
        "lastTimestamp": CREATED,
        "count": 2,
    }
    newer = {
        "apiVersion": "events.k8s.io/v1",
        "metadata": {"name": "e"},
        "regarding": event["involvedObject"],
        "reason": "Started",
        "type": "Normal",
        "note": event["message"],
        "deprecatedSource": event["source"],
        "deprecatedFirstTimestamp": CREATED,
        "deprecatedLastTimestamp": CREATED,
        "deprecatedCount": 2,
    }
    table = printing.to_table(EVENT, [event, newer], NOW)
    expected = ["60m", "Normal", "Started", "pod/a", "", "kubelet, n", "Started container", "60m", 2, "e"]
    assert [row["cells"] for row in table["rows"]] == [expected, expected]
