"""Who makes a request's change, and how the ownership of fields follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.apply.tracking import Tracker
from pilothouse.api.meta import Object
from pilothouse.api.status import StatusError
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.options import WriteOptions
from pilothouse.apiserver.ownership import Track, take

_MANAGER_LIMIT = 128


def manager_of(call: Call, options: WriteOptions) -> str:
    """Who writes: as the client says, or the first part of its User-Agent, without what cannot be printed."""
    if options.field_manager:
        return options.field_manager
    agent = call.request.headers.get("user-agent", "").partition("/")[0]
    if len(agent) <= _MANAGER_LIMIT and agent.isascii() and agent.isprintable():
        return agent
    printable = "".join(char for char in agent if char.isprintable())
    return printable.encode()[:_MANAGER_LIMIT].decode(errors="ignore")


def tracking(call: Call, endpoint: Endpoint, options: WriteOptions) -> Track:
    """For a write by the client: what changes is its own from then on."""
    tracker = endpoint.tracker(call.info.subresource)
    manager = manager_of(call, options)
    if endpoint.asks:
        return lambda live, draft, now: _track_asking(endpoint, tracker, manager, live, draft, now)
    if endpoint.gvr == endpoint.resource.gvr:
        return lambda live, draft, now: tracker.update(live, draft, manager, now)
    return lambda live, draft, now: _track_converted(endpoint, tracker, manager, live, draft, now)


async def _track_asking(
    endpoint: Endpoint, tracker: Tracker, manager: str, live: Mapping[str, Any] | None, draft: Object, now: float
) -> None:
    """Where entries in the fields of other versions have to be asked for. Without an answer nobody owns anything, as upstream."""

    def update() -> Object:
        new = {**draft, "metadata": dict(draft["metadata"])}
        tracker.update(live, new, manager, now)
        return new

    try:
        new = await endpoint.settled(update)
    except StatusError:
        take(draft["metadata"], None)
    else:
        take(draft["metadata"], new["metadata"].get("managedFields"))


def _track_converted(
    endpoint: Endpoint, tracker: Tracker, manager: str, live: Mapping[str, Any] | None, draft: Object, now: float
) -> None:
    """Ownership is told in the fields of the version that the client speaks."""
    old = None if live is None else endpoint.from_stored(dict(live))
    new = endpoint.from_stored({**draft, "metadata": dict(draft["metadata"])})
    new["metadata"] = dict(new["metadata"])
    tracker.update(old, new, manager, now)
    take(draft["metadata"], new["metadata"].get("managedFields"))
