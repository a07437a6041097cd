from __future__ import annotations

import logging

import pytest

from pilothouse.kit.log import get_logger


def test_an_event_shows_its_context(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    get_logger("test").bind(pod="default/web").warning("probe failed", code=500, message="two words")
    assert caplog.messages == ["probe failed pod=default/web code=500 message='two words'"]


def test_an_exception_brings_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        get_logger("test").exception("sync failed", key="a/b")
    assert caplog.records[0].exc_info is not None
    assert "broken" in caplog.text


def test_a_line_cannot_be_forged(caplog: pytest.LogCaptureFixture) -> None:
    get_logger("test").error("refused", name="x\n2026 I pilothouse: all is well")
    assert "\n" not in caplog.messages[0]
