"""How a runtime fails."""

from __future__ import annotations


class RuntimeFailure(Exception):
    """The runtime could not do what it was asked; the text is its own."""


class RuntimeUnavailable(RuntimeFailure):
    """The runtime does not answer."""


class NotFoundInRuntime(RuntimeFailure):
    """The runtime has no such sandbox, container or image."""


class RuntimeTimeout(RuntimeFailure):
    """The runtime did not finish in time; whether it has done it is unknown."""
