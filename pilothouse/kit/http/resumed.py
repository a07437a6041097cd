"""Coroutines that are begun outside a task: what can be done at once costs none, the rest is awaited like any other coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

_Result = TypeVar("_Result")


class Resumed(Generic[_Result]):
    """Awaits the rest of a coroutine that stopped at `suspended_on`."""

    __slots__ = ("_is_interrupted", "coroutine", "suspended_on")

    def __init__(self, coroutine: Coroutine[Any, Any, _Result], suspended_on: Any) -> None:
        self.coroutine = coroutine
        self.suspended_on = suspended_on
        self._is_interrupted = False

    def interrupt(self) -> None:
        """Raise CancelledError where the coroutine waits, without cancelling who awaits it."""
        cancel = getattr(self.suspended_on, "cancel", None)
        if cancel is None or not cancel():
            self._is_interrupted = True

    def __await__(self) -> Generator[Any, Any, _Result]:
        while True:
            step: Callable[[Any], Any] = self.coroutine.send
            argument: Any = None
            try:
                argument = yield self.suspended_on
            except GeneratorExit:
                self.coroutine.close()
                raise
            except BaseException as error:
                step = self.coroutine.throw
                argument = error
            if self._is_interrupted:
                self._is_interrupted = False
                step, argument = self.coroutine.throw, _cancellation(argument)
            try:
                self.suspended_on = step(argument)
            except StopIteration as finished:
                result: _Result = finished.value
                return result


def _cancellation(present: Any) -> BaseException:
    return present if isinstance(present, asyncio.CancelledError) else asyncio.CancelledError()
