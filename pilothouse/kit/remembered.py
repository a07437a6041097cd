"""Answers that are looked up instead of worked out again, where the question is a text that a client chose.

However many there are, a client must not fill the memory with them by making them long: those of long texts are worked out each time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, update_wrapper
from typing import Any, TypeVar, TypeVarTuple, cast

LONGEST = 512
"""Characters of the longest text that is remembered."""

_Text = TypeVar("_Text")
_Rest = TypeVarTuple("_Rest")
_Answer = TypeVar("_Answer")


def remembered(
    count: int,
) -> Callable[[Callable[[_Text, *_Rest], _Answer]], Callable[[_Text, *_Rest], _Answer]]:
    """A decorator of functions whose first argument is the text, or a number; `count` answers are remembered."""

    def decorate(function: Callable[[_Text, *_Rest], _Answer]) -> Callable[[_Text, *_Rest], _Answer]:
        if function.__code__.co_argcount == 1:
            # What is known is found without a call in Python.
            return cast(Callable[[_Text, *_Rest], _Answer], _Known(function, count).__getitem__)
        known: Any = lru_cache(count)(function)

        def look_up(text: _Text, *rest: *_Rest) -> _Answer:
            if isinstance(text, str) and len(text) > LONGEST:
                return function(text, *rest)
            answer: _Answer = known(text, *rest)
            return answer

        update_wrapper(look_up, function)
        return look_up

    return decorate


class _Known(dict[Any, Any]):
    """Answers by their question. When there are too many, all are forgotten: those that are asked for will be back."""

    __slots__ = ("_count", "_function")

    def __init__(self, function: Callable[..., Any], count: int) -> None:
        self._function = function
        self._count = count

    def __missing__(self, question: Any) -> Any:
        answer = self._function(question)
        if not isinstance(question, str) or len(question) <= LONGEST:
            if len(self) >= self._count:
                self.clear()
            self[question] = answer
        return answer
