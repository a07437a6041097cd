"""Fitting endpoints into EndpointSlices.

Endpoints with the same ports share slices of at most `limit`. A change touches as few slices as it can: endpoints stay where they
are, new ones go where something changes anyway, then into the slice that they fill best, then into a new one; a slice that would be
deleted while another is created is written over instead. All functions are pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pilothouse.api import meta
from pilothouse.api.meta import Object
from pilothouse.api.views.endpoint_slice import EndpointSliceView

Identity = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Actions:
    """Slices to write. `missing_nodes` names nodes that pods are said to run on and that do not exist (yet)."""

    create: tuple[Object, ...] = ()
    update: tuple[Object, ...] = ()
    delete: tuple[Object, ...] = ()
    missing_nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Endpoints that share their ports. `template` is a slice for them, without endpoints; its labels count for all."""

    template: Object
    endpoints: dict[Identity, Object]


def plan(
    owner: Mapping[str, Any],
    existing: Sequence[Object],
    groups: Mapping[bytes, Group],
    limit: int,
    placeholder: Object | None = None,
) -> Actions:
    """From the slices of one address family and the groups by `ports_key`, what to write.

    Slices that `owner` does not own go. If nothing is left, `placeholder` is what stays.
    """
    owned: dict[bytes, list[Object]] = {}
    delete: list[Object] = []
    for one in existing:
        if _is_owned(one, owner):
            owned.setdefault(ports_key(EndpointSliceView(one).ports), []).append(one)
        else:
            delete.append(one)
    create: list[Object] = []
    update: list[Object] = []
    for key, group in groups.items():
        packed = _pack(owned.pop(key, []), group, limit)
        create += packed.create
        update += packed.update
        delete += packed.delete
    delete += [one for slices in owned.values() for one in slices]
    if placeholder is not None and len(delete) == len(existing) and not create:
        if len(delete) == 1 and _is_placeholder(delete[0], placeholder):
            delete = []
        else:
            create = [placeholder]
    return _reuse(owner, create, update, delete)


def ports_key(ports: Sequence[Mapping[str, Any]]) -> bytes:
    """Equal for equal ports, whatever their order."""
    rows = sorted(
        (port.get("name") or "", port.get("port") or 0, port.get("protocol", "TCP"), port.get("appProtocol") or "")
        for port in ports
    )
    return orjson.dumps(rows)


def identity(endpoint: Mapping[str, Any]) -> Identity:
    """What makes an endpoint the same one, though its conditions change."""
    target = endpoint.get("targetRef") or {}
    addresses = tuple(sorted(endpoint.get("addresses") or ()))
    return (addresses, endpoint.get("hostname", ""), target.get("namespace", ""), target.get("name", ""))


def _pack(existing: Sequence[Object], group: Group, limit: int) -> Actions:
    metadata = group.template["metadata"]
    left = dict(group.endpoints)
    unchanged: list[Object] = []
    changed: list[Object] = []
    delete: list[Object] = []
    for one in existing:
        before = EndpointSliceView(one).endpoints
        kept = [endpoint for old in before if (endpoint := left.pop(identity(old), None)) is not None]
        if not kept and before:
            delete.append(one)
        elif kept != list(before) or not _has(one, metadata):
            changed.append(_with(one, kept, metadata))
        else:
            unchanged.append(one)
    rest = list(left.values())
    for one in sorted(changed, key=lambda one: -len(one["endpoints"])):
        room = limit - len(one["endpoints"])
        one["endpoints"] += rest[:room]
        rest = rest[room:]
    create: list[Object] = []
    while rest:
        fit = _best_fit(unchanged, len(rest), limit)
        if fit is not None:
            unchanged.remove(fit)
            changed.append(_with(fit, [*EndpointSliceView(fit).endpoints, *rest], metadata))
            break
        create.append({**group.template, "endpoints": rest[:limit]})
        rest = rest[limit:]
    return Actions(tuple(create), tuple(changed), tuple(delete))


def _best_fit(slices: Sequence[Object], count: int, limit: int) -> Object | None:
    """The slice that has room for all of `count` and is then the fullest."""
    fitting = [one for one in slices if len(EndpointSliceView(one).endpoints) + count <= limit]
    return max(fitting, key=lambda one: len(EndpointSliceView(one).endpoints), default=None)


def _reuse(owner: Mapping[str, Any], create: list[Object], update: list[Object], delete: list[Object]) -> Actions:
    for one in [one for one in delete if _is_owned(one, owner)]:
        if not create:
            break
        fresh = create.pop()
        update.append({**_with(one, fresh["endpoints"], fresh["metadata"]), "ports": fresh["ports"]})
        delete.remove(one)
    return Actions(tuple(create), tuple(update), tuple(delete))


def _with(one: Object, endpoints: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]) -> Object:
    marks = {name: metadata[name] for name in ("labels", "annotations") if name in metadata}
    return {**one, "metadata": {**one["metadata"], **marks}, "endpoints": list(endpoints)}


def _has(one: Object, metadata: Mapping[str, Any]) -> bool:
    """Whether the slice has the labels of the template, and its annotations if it gives any."""
    annotations = metadata.get("annotations")
    return meta.labels_of(one) == metadata["labels"] and (
        annotations is None or meta.annotations_of(one) == annotations
    )


def _is_owned(one: Object, owner: Mapping[str, Any]) -> bool:
    return any(reference["uid"] == meta.uid_of(owner) for reference in meta.owners_of(one))


def _is_placeholder(one: Object, placeholder: Object) -> bool:
    view = EndpointSliceView(one)
    return (
        not view.endpoints
        and not view.ports
        and view.labels == placeholder["metadata"]["labels"]
        and meta.owners_of(one) == placeholder["metadata"]["ownerReferences"]
    )
