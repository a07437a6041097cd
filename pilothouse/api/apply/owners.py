"""The entries of `metadata.managedFields`: who owns which fields, by which operation, since when.

An entry is the dict that the object has. Lists and entries are values: nothing here changes one that it was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api.apply.sets import FieldSet, ordered, parsed, union
from pilothouse.api.meta import Object, parse_time

APPLY, UPDATE = "Apply", "Update"
MAX_UPDATERS = 10
ANCIENT = "ancient-changes"

Owner = tuple[str, str, str, str]
"""Manager, operation, version and subresource. Who applies is the same owner at any version, which is then empty here."""


def owner_of(entry: Mapping[str, Any]) -> Owner:
    operation = entry["operation"]
    version = entry["apiVersion"] if operation == UPDATE else ""
    return entry.get("manager", ""), operation, version, entry.get("subresource", "")


def entry_of(owner: Owner, version: str, fields: FieldSet, time: str | None) -> Object:
    """An entry as upstream writes it."""
    manager, operation, _, subresource = owner
    entry: Object = {"manager": manager, "operation": operation, "apiVersion": version}
    if time is not None:
        entry["time"] = time
    entry["fieldsType"] = "FieldsV1"
    entry["fieldsV1"] = ordered(fields)
    if subresource:
        entry["subresource"] = subresource
    return entry


def with_fields(entry: Object, fields: FieldSet) -> Object:
    return {**entry, "fieldsV1": ordered(fields)}


def is_reset(entries: Any) -> bool:
    """Whether a client wants all ownership forgotten: an empty list, or one with an empty entry."""
    return bool(entries == [] or entries == [{}])


def checked(entries: Iterable[Any]) -> list[Object]:
    """Entries that a client sent, in this server's form, one for each owner. Raises ValueError."""
    found: dict[Owner, Object] = {}
    for index, entry in enumerate(entries):
        if entry.get("operation") not in (APPLY, UPDATE):
            raise ValueError("operation must be `Apply` or `Update`")
        if not entry.get("apiVersion"):
            raise ValueError("apiVersion must not be empty")
        if entry.get("fieldsType") != "FieldsV1":
            if not entry.get("fieldsType"):
                raise ValueError(f"missing fieldsType in managed fields entry {index}")
            raise ValueError(f'invalid fieldsType "{entry["fieldsType"]}" in managed fields entry {index}')
        owner = owner_of(entry)
        found[owner] = entry_of(owner, entry["apiVersion"], parsed(entry.get("fieldsV1")), entry.get("time"))
    return list(found.values())


def in_order(entries: list[Object]) -> list[Object]:
    """Who applies before who updates, then by age and name."""
    if len(entries) < 2:
        return entries
    return sorted(entries, key=_place)


def _place(entry: Object) -> tuple[Any, ...]:
    return (
        entry["operation"],
        entry.get("time") or "",
        entry.get("manager", ""),
        entry["apiVersion"],
        entry.get("subresource", ""),
    )


def capped(entries: list[Object]) -> list[Object]:
    """At most ten owners by updates: the oldest of each version become one, `ancient-changes`."""
    updaters = [entry for entry in entries if entry["operation"] == UPDATE]
    if len(updaters) <= MAX_UPDATERS:
        return entries
    updaters.sort(key=lambda entry: (_age(entry), owner_of(entry)))
    kept: dict[Owner, Object] = {owner_of(entry): entry for entry in entries}
    first: dict[str, Owner] = {}
    count = len(updaters)
    for entry in updaters:
        if count <= MAX_UPDATERS:
            break
        version, owner = entry["apiVersion"], owner_of(entry)
        if version not in first:
            first[version] = owner
            continue
        bucket: Owner = (ANCIENT, UPDATE, version, "")
        older = kept.get(bucket) or kept.pop(first[version])
        fields = union(entry["fieldsV1"], older["fieldsV1"])
        kept.pop(owner, None)
        kept[bucket] = entry_of(bucket, version, fields, entry.get("time"))
        count -= 1
    return list(kept.values())


def _age(entry: Object) -> float:
    return parse_time(entry["time"]) if entry.get("time") else 0


def differ_only_in_time(new: Sequence[Mapping[str, Any]], old: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the two lists are the same but for at least one time."""
    if len(new) != len(old) or new == old:
        return False
    for after, before in zip(new, old, strict=True):
        if after.get("fieldsV1") != before.get("fieldsV1") or {**after, "time": None} != {**before, "time": None}:
            return False
    return True
