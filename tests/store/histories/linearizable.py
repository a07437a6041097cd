"""Whether calls could have been made one after another, each at some moment between its beginning and its end.

Each key is judged by itself, which is enough: linearizability is local. The search is Wing and Gong's with Lowe's memory of what was
tried (`Testing for linearizability`, 2017), as Porcupine does it: of the calls not yet placed, one that began before any of them ended
comes next. A call without an answer may be placed anywhere after its beginning, or nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tests.store.histories.calls import Call, Outcome, Verb


class NotLinearizable(AssertionError):
    """The calls of a key contradict each other."""


def check(calls: Iterable[Call]) -> None:
    """Raises NotLinearizable."""
    by_key: dict[str, list[Call]] = {}
    for call in calls:
        by_key.setdefault(call.key, []).append(call)
    for key, some in by_key.items():
        check_key(key, some)


def check_key(key: str, calls: Iterable[Call]) -> None:
    """The same for the calls of one key, of which nothing is known at first but that it does not exist."""
    ordered = sorted(calls, key=lambda call: call.began)
    answered = sum(1 << place for place, call in enumerate(ordered) if call.ended is not None)
    stack: list[tuple[int, str | None]] = [(0, None)]
    seen = set(stack)
    best = 0
    while stack:
        placed, value = stack.pop()
        if placed & answered == answered:
            return
        if placed.bit_count() > best.bit_count():
            best = placed
        for place in reversed(_next(ordered, placed)):
            for after in outcomes(value, ordered[place]):
                state = (placed | 1 << place, after)
                if state not in seen:
                    seen.add(state)
                    stack.append(state)
    stuck = [ordered[place] for place in _next(ordered, best)]
    raise NotLinearizable(f"{key}: {best.bit_count()} of {len(ordered)} calls fit together, and then none of {stuck}")


def _next(calls: Sequence[Call], placed: int) -> Sequence[int]:
    """The calls that may come next: those answered first in front, those never answered last."""
    found: list[int] = []
    horizon = math.inf
    for place, call in enumerate(calls):
        if placed >> place & 1:
            continue
        if call.began > horizon:
            break
        found.append(place)
        horizon = min(horizon, _end(call))
    return sorted((place for place in found if calls[place].began <= horizon), key=lambda place: _end(calls[place]))


def _end(call: Call) -> float:
    return math.inf if call.ended is None else call.ended


def outcomes(value: str | None, call: Call) -> Sequence[str | None]:
    """What a key that has `value` may have after a call that ended as it did; nothing if it cannot have ended so."""
    exists = value is not None
    match call.verb:
        case Verb.READ:
            return (value,) if value == call.value else ()
        case Verb.CREATE:
            is_wanted = not exists
        case Verb.PATCH:
            is_wanted = exists
        case _:
            is_wanted = exists and call.expect in (None, value)
    after = None if call.verb is Verb.DELETE else call.value
    match call.outcome:
        case Outcome.DONE:
            return (after,) if is_wanted else ()
        case Outcome.UNKNOWN:
            return (after,) if is_wanted else (value,)
        case Outcome.MISSING:
            return () if exists else (value,)
        case Outcome.EXISTS:
            return (value,) if exists else ()
        case Outcome.REFUSED:
            # A patch is refused when it lost too many races, whatever there is.
            return (value,) if exists and (call.verb is Verb.PATCH or call.expect != value) else ()
