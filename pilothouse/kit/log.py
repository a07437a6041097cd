"""Logs: one line an event, with its context as `key=value`.

The interface is structlog's (`log.info("event", key=value)`, `bind`), over the standard library's `logging`: importing structlog takes a
quarter of a second of CPU in every process, more than the rest of a component's start together.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@+,")


class Logger:
    """Writes events under a name, each with the values bound to it."""

    __slots__ = ("_context", "_logger")

    def __init__(self, logger: logging.Logger, context: dict[str, Any]) -> None:
        self._logger = logger
        self._context = context

    def bind(self, **context: Any) -> Logger:
        """A logger that adds `context` to every event."""
        return Logger(self._logger, {**self._context, **context})

    def debug(self, event: str, **context: Any) -> None:
        self._write(logging.DEBUG, event, context)

    def info(self, event: str, **context: Any) -> None:
        self._write(logging.INFO, event, context)

    def warning(self, event: str, **context: Any) -> None:
        self._write(logging.WARNING, event, context)

    def error(self, event: str, **context: Any) -> None:
        self._write(logging.ERROR, event, context)

    def exception(self, event: str, **context: Any) -> None:
        """An error with the traceback of the exception being handled."""
        self._write(logging.ERROR, event, context, with_traceback=True)

    def _write(self, level: int, event: str, context: dict[str, Any], *, with_traceback: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            pairs = "".join(f" {key}={_shown(value)}" for key, value in (self._context | context).items())
            self._logger.log(level, "%s%s", event, pairs, exc_info=with_traceback)


def get_logger(name: str) -> Logger:
    return Logger(logging.getLogger(name), {})


def configure(verbosity: int = 0) -> None:
    """Send events to standard error: from INFO up, or everything if `verbosity` (the flag `-v`) is 4 or more."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbosity >= 4 else logging.INFO)
    for noisy in ("asyncio", "grpc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _shown(value: Any) -> str:
    text = str(value)
    return text if text and _PLAIN.issuperset(text) else repr(text)
