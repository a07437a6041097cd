"""Answers that are looked up instead of worked out again, where the question is a text that a client chose.

However many there are, a client must not fill the memory with them by making them long: those of long texts are worked out each time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, update_wrapper
from typing import Any, TypeVar, TypeVarTuple

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
        known: Any = lru_cache(count)(function)

        def look_up(text: _Text, *rest: *_Rest) -> _Answer:
            if isinstance(text, str) and len(text) > LONGEST:
                return function(text, *rest)
            answer: _Answer = known(text, *rest)
            return answer

        update_wrapper(look_up, function)
        return look_up

    return decorate
