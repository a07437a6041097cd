"""The judges of histories find what is wrong with them, and nothing where all is right."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.histories.calls import Call, Outcome, Record, Snapshot, Verb
from tests.store.histories.linearizable import NotLinearizable, check, outcomes
from tests.store.histories.watched import Told, Watched, check_same

C, U, P, D, R = Verb.CREATE, Verb.UPDATE, Verb.PATCH, Verb.DELETE, Verb.READ
DONE, EXISTS, MISSING, REFUSED, UNKNOWN = (
    Outcome.DONE, Outcome.EXISTS, Outcome.MISSING, Outcome.REFUSED, Outcome.UNKNOWN,
)  # fmt: skip
Brief = tuple[Verb, str | None, str | None, Outcome, int, int | None]
"""Verb, value, expected value, outcome, beginning, end."""


def calls(*briefs: Brief) -> list[Call]:
    return [
        Call("k", verb, began, value, expect, outcome, ended) for verb, value, expect, outcome, began, ended in briefs
    ]


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([(C, "1", None, DONE, 1, 2), (R, None, None, DONE, 3, 4)], id="acknowledged write lost"),
        pytest.param(
            [(C, "1", None, DONE, 1, 2), (P, "2", None, DONE, 3, 4), (R, "1", None, DONE, 5, 6)], id="stale read"
        ),
        pytest.param([(R, "1", None, DONE, 1, 2), (C, "1", None, DONE, 3, 4)], id="read from the future"),
        pytest.param([(C, "1", None, DONE, 1, 4), (C, "2", None, DONE, 2, 3)], id="two creations"),
        pytest.param(
            [(C, "1", None, DONE, 1, 2), (U, "2", "1", DONE, 3, 6), (U, "3", "1", DONE, 4, 5)], id="two swaps of one value"
        ),
        pytest.param(
            [(C, "1", None, DONE, 1, 2), (P, "2", None, UNKNOWN, 3, None), (R, "2", None, DONE, 4, 5),
             (R, "1", None, DONE, 6, 7)],
            id="unknown write comes and goes",
        ),
        pytest.param([(C, "1", None, DONE, 1, 2), (D, None, None, MISSING, 3, 4)], id="missing though there"),
        pytest.param([(C, "1", None, DONE, 1, 2), (U, "2", "1", REFUSED, 3, 4)], id="refused though as expected"),
        pytest.param([(C, "1", None, EXISTS, 1, 2)], id="exists though never made"),
        pytest.param(
            [(C, "1", None, DONE, 1, 2), (D, None, None, DONE, 3, 4), (P, "2", None, DONE, 5, 6)], id="patched after its end"
        ),
    ],
)  # fmt: skip
def test_what_cannot_have_happened_is_found(history: list[Brief]) -> None:
    with pytest.raises(NotLinearizable, match="k: "):
        check(calls(*history))


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([(R, "1", None, DONE, 2, 3), (C, "1", None, DONE, 1, 4)], id="read within the write"),
        pytest.param([(C, "1", None, UNKNOWN, 1, None), (R, None, None, DONE, 2, 3)], id="unknown, never"),
        pytest.param(
            [(C, "1", None, UNKNOWN, 1, None), (R, None, None, DONE, 2, 3), (R, "1", None, DONE, 4, 5)], id="unknown, late"
        ),
        pytest.param(
            [(C, "1", None, UNKNOWN, 1, None), (D, None, None, DONE, 2, 3), (R, None, None, DONE, 4, 5)],
            id="unknown, only seen by its deletion",
        ),
        pytest.param([(C, "1", None, DONE, 1, 2), (P, "2", None, REFUSED, 3, 4)], id="a patch that lost races"),
        pytest.param([(C, "1", None, DONE, 1, 2), (U, "2", "0", REFUSED, 3, 4), (R, "1", None, DONE, 5, 6)], id="refused"),
    ],
)  # fmt: skip
def test_what_can_have_happened_is_let_pass(history: list[Brief]) -> None:
    check(calls(*history))


def drawn(rng: random.Random, count: int) -> list[Call]:
    """A history of a register that works: each call takes effect at a moment within its time, some without an answer."""
    record: list[Call] = []
    value: str | None = None
    for number in range(count):
        verb = rng.choice([C, U, P, D, R, R])
        moment = (number + 1) * 100
        expect = rng.choice([value, "other"]) if verb is U else None
        call = Call("k", verb, moment - rng.randrange(1, 250), str(number) if verb in (C, U, P) else None, expect)
        call.ended = moment + rng.randrange(1, 250)
        for outcome in (DONE, EXISTS, MISSING, REFUSED):
            call.outcome = outcome
            if verb is R:
                call.value = value
            if (outcome is not REFUSED or verb is U) and (outcome is not EXISTS or verb is C) and outcomes(value, call):
                (value,) = outcomes(value, call)
                break
        if verb is not R and rng.random() < 0.15:
            call.outcome, call.ended = UNKNOWN, None
        record.append(call)
    return record


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_a_register_that_works_passes_and_one_lost_write_is_found(seed: int) -> None:
    rng = random.Random(seed)
    history = drawn(rng, 24)
    check(history)
    end = max(call.ended or call.began for call in history)
    lost = Call("k", R, end + 1, "never written", None, DONE, end + 2)
    with pytest.raises(NotLinearizable):
        check([*history, lost])


def watched(*events: Told) -> Watched:
    return Watched(Snapshot(10, {"a": ("0", 5)}), list(events), events[-1].revision if events else 10)


GOOD = (Told(11, "MODIFIED", "a", "1"), Told(13, "ADDED", "b", "2"), Told(14, "DELETED", "a", "1"))


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ((Told(11, "MODIFIED", "a", "1"), Told(11, "ADDED", "b", "2")), "came after revision 11"),
        ((Told(9, "ADDED", "b", "2"),), "came after revision 10"),
        ((Told(11, "ADDED", "a", "1"),), "was there already"),
        ((Told(11, "MODIFIED", "b", "1"),), "was not there"),
        ((Told(11, "DELETED", "a", "7"),), "is not what was there"),
        ((Told(11, "MODIFIED", "a", "1"), Told(12, "MODIFIED", "a", "1")), "told twice"),
        ((Told(11, "MODIFIED", "a", "1"), Told(14, "DELETED", "a", "1")), "at 13: replayed"),
        ((Told(13, "ADDED", "b", "2"), Told(14, "DELETED", "a", "0")), "at 13: replayed"),
    ],
)
def test_a_watch_that_tells_too_much_or_too_little_is_found(events: tuple[Told, ...], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        watched(*events).check([Snapshot(13, {"a": ("1", 11), "b": ("2", 13)})], [])


def test_a_watch_that_misses_an_acknowledged_write_is_found() -> None:
    record = Record()
    record.end(record.begin("c", C, "9"), DONE, 12)
    with pytest.raises(AssertionError, match="an acknowledged write was not told"):
        watched(*GOOD).check([], record.calls)


def test_a_watch_that_tells_all_passes() -> None:
    record = Record()
    record.end(record.begin("b", C, "2"), DONE, 13)
    snapshots = [Snapshot(13, {"a": ("1", 11), "b": ("2", 13)}), Snapshot(20, {})]
    watched(*GOOD).check(snapshots, record.calls)
    check_same([watched(*GOOD), watched(*GOOD[:2])])
    with pytest.raises(AssertionError):
        check_same([watched(*GOOD), watched(*GOOD[1:])])
