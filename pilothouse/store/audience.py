"""Who watches what: an event is offered only to the watchers that it can concern.

A watcher stands in one room: that of an object, of a field's value (`spec.nodeName=n1`), of a namespace, or the hall. With a thousand
kubelets watching for their pods, an event of a pod wakes one of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.store.event import Event
from pilothouse.store.selection import SelectableFields, Selection
from pilothouse.store.watcher import Watcher

_Room = tuple[object, str]
_HALL: _Room = ("", "")


class Audience:
    """The watchers of one resource."""

    def __init__(self, fields: SelectableFields) -> None:
        self._fields = fields
        self._rooms: dict[_Room, dict[Watcher, None]] = {}
        self._triggers: dict[int, int] = {}
        """How many watchers stand in the rooms of a field's values, by the field's position."""

    def __iter__(self) -> Iterator[Watcher]:
        return (watcher for room in tuple(self._rooms.values()) for watcher in tuple(room))

    def __len__(self) -> int:
        return sum(map(len, self._rooms.values()))

    def join(self, watcher: Watcher) -> None:
        room = _room_of(watcher.selection)
        self._rooms.setdefault(room, {})[watcher] = None
        if isinstance(room[0], int):
            self._triggers[room[0]] = self._triggers.get(room[0], 0) + 1

    def leave(self, watcher: Watcher) -> None:
        """Idempotent."""
        room = _room_of(watcher.selection)
        members = self._rooms.get(room)
        if members is None or watcher not in members:
            return
        del members[watcher]
        if not members:
            del self._rooms[room]
        if isinstance(room[0], int):
            self._triggers[room[0]] -= 1
            if not self._triggers[room[0]]:
                del self._triggers[room[0]]

    def size(self, namespace: str, name: str) -> int:
        """How many watchers an event of an object concerns, apart from those in the rooms of fields."""
        rooms = self._rooms
        if not rooms:
            return 0
        return sum(len(rooms.get(room, ())) for room in (_HALL, *_rooms_of(namespace, name)))

    def tell(self, event: Event) -> bool:
        """Offer `event` to everyone it can concern; whether there is anyone at all."""
        cached = event.cached
        rooms = self._rooms
        if not rooms:
            return False
        members = rooms.get(_HALL)
        if members:
            _offer(members, event)
        if len(rooms) == 1 and members:
            return True
        for room in _rooms_of(cached.namespace, cached.name):
            if members := rooms.get(room):
                _offer(members, event)
        for position in tuple(self._triggers):
            values = {self._fields.values(each)[position] for each in (event.old, event.new) if each is not None}
            for value in values:
                if members := rooms.get((position, value)):
                    _offer(members, event)
        return True


def _offer(members: dict[Watcher, None], event: Event) -> None:
    for watcher in tuple(members):
        watcher.offer(event)


def _rooms_of(namespace: str, name: str) -> tuple[_Room, ...]:
    """Where those stand, beside the hall, whom an object concerns whatever its fields are."""
    return ((namespace, ""), (namespace, name), ("", name)) if namespace else (("", name),)


def _room_of(selection: Selection) -> _Room:
    if selection.name:
        return (selection.namespace, selection.name)
    if selection.trigger is not None:
        return selection.trigger
    return (selection.namespace, "")
