"""Event."""

from __future__ import annotations

from pilothouse.api import duration, gvr
from pilothouse.api.kinds.columns import View, at, value_of, wide
from pilothouse.api.resource import Column, Dependents, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred


def _first_seen(obj: View, now: float) -> str:
    return duration.age(obj.get("firstTimestamp") or obj.get("eventTime"), now)


def _last_seen(obj: View, now: float) -> str:
    series = obj.get("series")
    last = series.get("lastObservedTime") if series else obj.get("lastTimestamp")
    return duration.age(last, now) if last or series else _first_seen(obj, now)


def _object(obj: View, now: float) -> str:
    involved = obj.get("involvedObject") or {}
    kind = involved.get("kind", "").lower()
    return f"{kind}/{involved['name']}" if involved.get("name") else kind


def _source(obj: View) -> str:
    component = at(obj, "source", "component") or obj.get("reportingComponent", "")
    instance = at(obj, "source", "host") or obj.get("reportingInstance", "")
    return f"{component}, {instance}" if instance else component


def _count(obj: View) -> int:
    series = obj.get("series")
    return int((series.get("count") if series else obj.get("count")) or 1)


_KEYS = ("involvedObject", "regarding")
"""What the object is called in `v1` and in `events.k8s.io/v1`."""
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


EVENT = Resource(
    gvr.CORE_EVENTS,
    metadata_checks=MetadataChecks.NONE,
    dependents=Dependents.NONE,
    other_versions=(gvr.EVENTS,),
    short_names=("ev",),
    name_rule="path-segment",
    knows_finalizers=False,
    has_generation=False,
    selectable={
        **{f"{key}.{name}": value_of("involvedObject", name) for name in _INVOLVED for key in _KEYS},
        "reason": value_of("reason"),
        "reportingComponent": value_of("reportingComponent"),
        "reportingController": value_of("reportingComponent"),
        "source": lambda obj: str(at(obj, "source", "component") or obj.get("reportingComponent", "")),
        "type": value_of("type"),
    },
    columns=(
        Column("Last Seen", _last_seen, description="The time since it was last seen."),
        Column("Type", lambda obj, now: obj.get("type", ""), description="Normal or Warning."),
        Column("Reason", lambda obj, now: obj.get("reason", ""), description="Why, in one word."),
        Column("Object", _object, description="What the event is about."),
        wide("Subobject", lambda obj: at(obj, "involvedObject", "fieldPath") or "", "The part of the object."),
        wide("Source", _source, "Who reports."),
        Column("Message", lambda obj, now: obj.get("message", "").strip(), description="What happened."),
        Column("First Seen", _first_seen, priority=1, description="The time since it was first seen."),
        wide("Count", _count, "How often it was seen."),
        Column("Name", lambda obj, now: obj["metadata"].get("name", ""), format="name", priority=1),
    ),
    create_on_update=True,
    validate_as=Deferred("pilothouse.api.validate.event", "validate_event_as"),
)
