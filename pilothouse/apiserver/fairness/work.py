"""How much work a request is: how many seats it takes, and for how long after it is answered. Pure.

A list takes seats by the size of what it reads, a write by how many watchers are told of it.
Source: apiserver `pkg/util/flowcontrol/request`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pilothouse.apiserver.route import RequestInfo, is_true

MAX_LIST_SEATS = 100
MAX_WRITE_SEATS = 10
BYTES_PER_SEAT = 100_000
STREAMED_BYTES = 1_000_000
"""A list from the cache is sent piece by piece and never holds more than this at once."""
WATCHES_PER_SEAT = 10
EVENT_S = 0.005
"""How long it takes to tell as many watchers of an event as one seat is for."""
_WRITES = frozenset({"create", "update", "patch", "delete"})


class Work(NamedTuple):
    """`seats` while the request is worked on, `final_seats` for `latency_s` after it."""

    seats: int = 1
    final_seats: int = 0
    latency_s: float = 0.0

    @property
    def max_seats(self) -> int:
        return max(self.seats, self.final_seats)


class Stored(NamedTuple):
    """How much there is of a kind."""

    objects: int
    average_bytes: int


ONE = Work()


def is_write(info: RequestInfo) -> bool:
    """Whether watchers may be told of what the request does."""
    return info.verb in _WRITES and not (info.resource == "serviceaccounts" and info.subresource == "token")


def is_list(info: RequestInfo, query: Mapping[str, str]) -> bool:
    """Whether the request reads many objects: a list, or a watch that begins with all there are."""
    if info.verb == "list":
        return True
    if info.verb != "watch":
        return False
    initial = query.get("sendInitialEvents")
    return (initial is not None and is_true(initial)) or query.get("resourceVersion", "") in ("", "0")


def work_of_list(info: RequestInfo, query: Mapping[str, str], stored: Stored | None, max_seats: int) -> Work:
    """`stored` is None for what is not known; `max_seats` 0 is no limit of the level's own."""
    if stored is None:
        return ONE
    limit = query.get("limit", "")
    loaded = stored.objects
    if limit.isdigit() and 0 < int(limit) < loaded:
        loaded = int(limit)
    is_cached = info.verb == "watch" or not _is_delegated(query)
    if info.name:
        loaded = 1
    elif not is_cached and (query.get("fieldSelector") or query.get("labelSelector")):
        loaded = max(loaded, stored.objects // 2)
    used_bytes = loaded * stored.average_bytes
    if is_cached:
        used_bytes = min(used_bytes, STREAMED_BYTES)
    most = min(max_seats or MAX_LIST_SEATS, MAX_LIST_SEATS)
    return Work(max(1, min(-(-used_bytes // BYTES_PER_SEAT), most)))


def work_of_write(watchers: int, max_seats: int) -> Work:
    if watchers < WATCHES_PER_SEAT:
        return ONE
    wanted = -(-watchers // WATCHES_PER_SEAT)
    seats = min(wanted, max_seats or MAX_WRITE_SEATS, MAX_WRITE_SEATS)
    return Work(1, seats, wanted * EVENT_S / seats)


def _is_delegated(query: Mapping[str, str]) -> bool:
    """Whether upstream would read the list from its store. Source: apiserver `pkg/storage/cacher/delegator`."""
    match query.get("resourceVersionMatch", ""):
        case "Exact":
            return True
        case "":
            if query.get("continue"):
                return True
            return query.get("limit", "0") != "0" and query.get("resourceVersion", "") not in ("", "0")
    return False
