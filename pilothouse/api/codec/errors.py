"""What can be wrong with protobuf."""

from __future__ import annotations


class MalformedMessage(ValueError):
    """The bytes are no message of the type that they should be."""


class UnknownMessage(ValueError):
    """There is no message for a kind: it can be written as JSON only."""
