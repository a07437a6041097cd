"""The store protocol: etcd's model, as small as Kubernetes needs it.

One 64-bit revision counts the writes of the whole store. A key's `mod_revision` is the revision of its last write. A write names
the `mod_revision` that it expects, so that a lost race is seen and nothing is overwritten. A watch replays every write after a
revision, in order, each once. All backends pass one shared test suite (`tests/store/suite.py`).

Keys are `/registry/<group or "core">/<plural>/[<namespace>/]<name>`. Values are opaque bytes.

A store and its callers live on one event loop; `follow` calls back on it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import NewType, Protocol

import msgspec

from pilothouse.api.gvr import GVR

Revision = NewType("Revision", int)

ABSENT = Revision(0)
"""As an expected `mod_revision`: the key must not exist. As a change's `previous`: it did not exist."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A key as it stood at a revision."""

    key: str
    value: bytes
    mod_revision: Revision


class Change(msgspec.Struct, frozen=True, gc=False):
    """One write. `value` is None for a deletion; `previous` is the key's `mod_revision` before it (ABSENT for a creation)."""

    key: str
    revision: Revision
    value: bytes | None
    previous: Revision


class Page(msgspec.Struct, frozen=True):
    """Part of a listing, in key order. `remaining` counts the entries after it, at `revision`, the whole listing's snapshot."""

    entries: Sequence[Entry]
    revision: Revision
    remaining: int


class StoreError(Exception):
    """The store could not do what was asked."""


class WriteConflict(StoreError):
    """The key is not at the expected revision; `current` is where it is (ABSENT if it does not exist)."""

    def __init__(self, key: str, current: Revision) -> None:
        super().__init__(f"{key} is not at the expected revision but at {current}")
        self.key = key
        self.current = current


class Compacted(StoreError):
    """The revision asked for is older than what is kept; `oldest` is the first that still is."""

    def __init__(self, oldest: Revision) -> None:
        super().__init__(f"required revision has been compacted; the oldest kept is {oldest}")
        self.oldest = oldest


class FutureRevision(StoreError):
    """The revision asked for has not been written yet; `current` is the last that was."""

    def __init__(self, asked: Revision, current: Revision) -> None:
        super().__init__(f"required revision {asked} is a future revision; the last written is {current}")
        self.current = current


class StoreUnavailable(StoreError):
    """The store cannot be reached or cannot write, for example because the disk is full. The message is for a person.

    A write that raises it was not made, unless it is OutcomeUnknown.
    """


class OutcomeUnknown(StoreUnavailable):
    """The write may have been made or not, and nobody can say which."""


class ValueTooLarge(StoreUnavailable):
    """The store does not take a value of this size. The write was not made."""


Deliver = Callable[[Sequence[Change]], None]
"""Takes changes in revision order, on the event loop; must not raise and must not call the store."""

Restart = Callable[[Page], None]
"""Takes the whole state of what is followed, in place of the changes that led to it."""


class Feed(Protocol):
    """What follows a prefix of a store. See `Store.follow`."""

    @property
    def revision(self) -> Revision:
        """Every write up to this revision has been delivered."""

    @property
    def compacted(self) -> Revision:
        """Lists at a revision before this one are no longer possible."""

    async def fresh(self) -> None:
        """Return when every write that anyone was told of before this call has been delivered."""

    def close(self) -> None:
        """Deliver no more. Idempotent."""


class Readable(Protocol):
    """What a watch cache needs of a store. Every method may raise StoreUnavailable."""

    async def revision(self) -> Revision:
        """The revision of the last write."""

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, at: Revision | None = None) -> Page:
        """Entries whose key starts with `prefix`, in key order, from the first key greater than `after`.

        `limit` 0 means all. `at` asks for the state at an earlier revision. Raises Compacted, FutureRevision.
        """

    async def follow(self, prefix: str, deliver: Deliver, *, after: Revision, restart: Restart | None = None) -> Feed:
        """Call `deliver` with every durable write under `prefix` after the revision `after`, in order, each once.

        Those already written are delivered before this returns. Raises Compacted if writes after `after` are no longer kept,
        FutureRevision if `after` has not been written.

        A store that was out of reach for longer than it keeps history calls `restart` with the present state and goes on from there; a
        feed without `restart` ends then. A local store never does.
        """


class Store(Readable, Protocol):
    """A revisioned key-value store. Every method may raise StoreUnavailable."""

    async def get(self, key: str) -> Entry | None:
        """The key as it stands now."""

    async def put(
        self, key: str, value: bytes, *, expect: Revision | None = None, ttl_s: float | None = None
    ) -> Revision:
        """Write a key durably and return the revision of the write. Raises OutcomeUnknown, ValueTooLarge.

        `expect` is the key's present `mod_revision` (ABSENT for none); None writes regardless. A key written with `ttl_s` is
        deleted by the store after that many seconds, unless it is written again. Raises WriteConflict.

        A cancelled or failed call may have written or not. Followers in the same process have seen the write before this returns,
        if the store is local (`memory`, `sqlite`); after `Feed.fresh` with any store.
        """

    async def delete(self, key: str, *, expect: Revision | None = None) -> Revision:
        """Delete a key durably and return the revision of the deletion. Raises WriteConflict, also when it does not exist."""

    def watch(self, prefix: str, *, after: Revision) -> AsyncGenerator[Sequence[Change], None]:
        """The same as an iterator without end, which a slow reader may leave alone for as long as history is kept.

        Raises Compacted, FutureRevision.
        """

    async def compact(self, before: Revision) -> None:
        """Forget history older than `before`; the present state of every key stays."""

    async def close(self) -> None:
        """Finish what was accepted and let go of files and connections."""


def prefix_of(gvr: GVR, namespace: str = "") -> str:
    """The prefix of a resource's keys, or of those in one namespace."""
    prefix = f"/registry/{gvr.group or 'core'}/{gvr.plural}/"
    return f"{prefix}{namespace}/" if namespace else prefix


def key_of(gvr: GVR, namespace: str, name: str) -> str:
    """The key of one object. `namespace` is empty for cluster-scoped resources."""
    return prefix_of(gvr, namespace) + name
