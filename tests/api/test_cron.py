from __future__ import annotations

import pytest

from pilothouse.api import cron


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4"),
        ("60 * * * *", r"end of range \(60\) above maximum \(59\): 60"),
        ("* * 0 * *", r"beginning of range \(0\) below minimum \(1\): 0"),
        ("5-1 * * * *", "beyond end of range"),
        ("*/0 * * * *", "step of range should be a positive number"),
        ("a * * * *", "failed to parse int from a"),
        ("1-2-3 * * * *", "too many hyphens"),
        ("1/2/3 * * * *", "too many slashes"),
        ("@sometimes", "unrecognized descriptor: @sometimes"),
        ("@every x", "failed to parse duration"),
        ("* * * * 7", r"end of range \(7\) above maximum \(6\)"),
    ],
)
def test_bad_schedules(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cron.parse(text)


def test_schedules() -> None:
    schedule = cron.parse("*/15 0,12 1-3 jan-MAR mon")
    assert schedule.minutes == {0, 15, 30, 45}
    assert schedule.hours == {0, 12}
    assert schedule.days == {1, 2, 3}
    assert schedule.months == {1, 2, 3}
    assert schedule.weekdays == {1}
    assert not schedule.any_day
    assert cron.parse("5/20 * ? * *").minutes == {5, 25, 45}
    assert cron.parse("5 * ? * *").any_day
    assert cron.parse("@daily") == cron.parse("0 0 * * *")
    assert cron.parse("@every 1h30m").every_s == 5400
    assert cron.parse("CRON_TZ=Europe/Rome 0 6 * * *").hours == {6}
