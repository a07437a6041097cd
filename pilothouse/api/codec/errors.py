"""What can be wrong with protobuf."""

from __future__ import annotations


class MalformedMessage(ValueError):
    """The bytes are no message of the type that they should be."""


class UnknownMessage(ValueError):
    """There is no message for a kind: it can be written as JSON only."""


class UnknownKind(MalformedMessage):
    """The message is of a kind that is not known."""

    def __init__(self, api_version: str, kind: str) -> None:
        super().__init__(f'no kind "{kind}" is known for version "{api_version}"')
        self.api_version = api_version
        self.kind = kind
