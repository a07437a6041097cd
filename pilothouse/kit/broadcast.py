"""One sender, many receivers, each with a bounded queue of its own.

A receiver that falls behind loses the oldest values and is told how many (`Lagged`), so that it can look at the state again rather
than go on with a gap it does not know of. The sender never waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Lagged(Exception):
    """The receiver missed `count` values."""

    def __init__(self, count: int) -> None:
        super().__init__(f"missed {count} values")
        self.count = count


class Receiver(Generic[T]):
    """One receiver's queue."""

    def __init__(self, capacity: int) -> None:
        self._values: deque[T] = deque(maxlen=capacity)
        self._lost = 0
        self._arrived = asyncio.Event()

    def put(self, value: T) -> None:
        if len(self._values) == self._values.maxlen:
            self._lost += 1
        self._values.append(value)
        self._arrived.set()

    async def get(self) -> T:
        """The next value. Raises Lagged once after values were lost, then goes on with the oldest that is left."""
        while True:
            if self._lost:
                lost, self._lost = self._lost, 0
                raise Lagged(lost)
            if self._values:
                return self._values.popleft()
            self._arrived.clear()
            await self._arrived.wait()


class Broadcast(Generic[T]):
    """Sends every value to all who receive at that moment."""

    def __init__(self) -> None:
        self._receivers: list[Receiver[T]] = []

    def send(self, value: T) -> None:
        for receiver in self._receivers:
            receiver.put(value)

    @contextmanager
    def receive(self, *, capacity: int = 1024) -> Iterator[Receiver[T]]:
        """A receiver of the values sent while the block runs."""
        receiver: Receiver[T] = Receiver(capacity)
        self._receivers.append(receiver)
        try:
            yield receiver
        finally:
            self._receivers.remove(receiver)
