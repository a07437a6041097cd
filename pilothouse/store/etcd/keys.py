"""The store's keys as etcd has them: under a prefix of the operator's choice."""

from __future__ import annotations

from pilothouse.store.etcd.options import DEFAULT_PREFIX

COMPACTION = b"compact_rev_key"
"""What the API servers agree on compaction with; outside the prefix and named as upstream names it."""


class Keys:
    """Translates between `/registry/…` and `<root>/…`."""

    def __init__(self, root: str) -> None:
        self.root = root.encode()
        self._start = f"{root}/".encode()

    def encode(self, key: str) -> bytes:
        return self.root + key[len(DEFAULT_PREFIX) :].encode()

    def decode(self, key: bytes) -> str | None:
        """None for a key that is not the store's."""
        if not key.startswith(self._start):
            return None
        try:
            return DEFAULT_PREFIX + key[len(self.root) :].decode()
        except UnicodeDecodeError:
            return None


def end_of(prefix: bytes) -> bytes:
    """The least key greater than all that start with `prefix`."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
