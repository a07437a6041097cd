"""The store protocol: etcd's model, as small as Kubernetes needs it.

One 64-bit revision counts the writes of the whole store. A key's `mod_revision` is the revision of its last write. A write names
the `mod_revision` that it expects, so that a lost race is seen and nothing is overwritten. A watch replays every write after a
revision, in order, each once. All backends pass one shared test suite (`tests/store/suite.py`).

Keys are `/registry/<group or "core">/<plural>/[<namespace>/]<name>`. Values are opaque bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NewType, Protocol

Revision = NewType("Revision", int)

ABSENT = Revision(0)
"""As an expected `mod_revision`: the key must not exist."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it stood at a revision."""

    key: str
    value: bytes
    create_revision: Revision
    mod_revision: Revision


@dataclass(frozen=True, slots=True)
class Change:
    """One write. `entry` is None for a deletion; `previous` is None for a creation. `revision` is that of the write."""

    key: str
    revision: Revision
    entry: Entry | None
    previous: Entry | None


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing, in key order. `remaining` counts the entries after it, at `revision`, the whole listing's snapshot."""

    entries: Sequence[Entry]
    revision: Revision
    remaining: int


class StoreError(Exception):
    """The store could not do what was asked."""


class WriteConflict(StoreError):
    """The key is not at the expected revision; `current` is where it is, or None if it does not exist."""

    def __init__(self, key: str, current: Entry | None) -> None:
        super().__init__(f"{key} is not at the expected revision")
        self.key = key
        self.current = current


class Compacted(StoreError):
    """The revision asked for is older than what is kept; `oldest` is the first that still is."""

    def __init__(self, oldest: Revision) -> None:
        super().__init__(f"required revision has been compacted; the oldest kept is {oldest}")
        self.oldest = oldest


class FutureRevision(StoreError):
    """The revision asked for has not been written yet."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or cannot write, for example because the disk is full. The message is for a person."""


class Store(Protocol):
    """A revisioned key-value store. Every method may raise StoreUnavailable."""

    async def revision(self) -> Revision:
        """The revision of the last write."""

    async def get(self, key: str) -> Entry | None:
        """The key as it stands now."""

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, at: Revision | None = None) -> Page:
        """Entries whose key starts with `prefix`, in key order, from the first key greater than `after`.

        `limit` 0 means all. `at` asks for the state at an earlier revision. Raises Compacted, FutureRevision.
        """

    async def put(self, key: str, value: bytes, *, expect: Revision | None = None, ttl_s: float | None = None) -> Entry:
        """Write a key durably. `expect` is its present `mod_revision` (ABSENT for none); None writes regardless.

        A key written with `ttl_s` is deleted by the store after that many seconds. Raises WriteConflict.
        """

    async def delete(self, key: str, *, expect: Revision | None = None) -> Entry:
        """Delete a key and return its last entry. Raises WriteConflict, also when it does not exist."""

    def watch(self, prefix: str, *, after: Revision) -> AsyncIterator[Sequence[Change]]:
        """Every write under `prefix` with a revision greater than `after`, in batches in order, without end.

        Raises Compacted if writes after `after` are no longer kept.
        """

    async def compact(self, before: Revision) -> None:
        """Forget history older than `before`; the present state of every key stays."""

    async def close(self) -> None:
        """Finish what was accepted and let go of files and connections."""
