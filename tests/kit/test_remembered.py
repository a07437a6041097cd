"""Answers are remembered, but those of long questions."""

from __future__ import annotations

from pilothouse.kit.remembered import LONGEST, remembered


def test_only_short_texts_are_remembered() -> None:
    asked: list[object] = []

    @remembered(2)
    def answer(text: str, times: int) -> str:
        """Its own words."""
        asked.append(text)
        return text * times

    long = "a" * (LONGEST + 1)
    for text in ("a", "a", "b", "a", long, long):
        assert answer(text, 2) == text * 2
    assert asked == ["a", "b", long, long]
    assert answer("a", 3) == "aaa"
    assert answer.__doc__ == "Its own words."


def test_numbers_are_remembered_too() -> None:
    asked: list[object] = []

    @remembered(2)
    def answer(value: str | int) -> str:
        asked.append(value)
        return str(value)

    assert [answer(5), answer(5), answer("5")] == ["5", "5", "5"]
    assert asked == [5, "5"]
