"""Encryption at rest: values of chosen kinds are kept encrypted in the store beneath, and nobody above knows.

The first provider of a rule writes; all of them read, so that keys are replaced by putting the new one first, writing every object anew,
and removing the old one. A value carries the provider and the key that it was written with; its own key in the store is authenticated with
it where the provider can (aesgcm), so that a value cannot be moved to another place. The form is upstream's.

Source: `k8s.io/apiserver/pkg/server/options/encryptionconfig`, `pkg/storage/value/encrypt`.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from pilothouse.kit.log import get_logger
from pilothouse.store.base import Change, Deliver, Entry, Feed, Page, Restart, Revision, Store, StoreUnavailable

_MARK = b"k8s:enc:"
_NONCE_BYTES, _IV_BYTES = 12, 16
_API_VERSIONS = ("apiserver.config.k8s.io/v1",)
log = get_logger("pilothouse.store.encryption")


class ConfigurationError(ValueError):
    """An EncryptionConfiguration cannot be used; the message says where and why."""


class Undecryptable(StoreUnavailable):
    """A value was written with a key that is not known, or was changed."""


class Provider(Protocol):
    """One way of writing values, with one key."""

    prefix: bytes
    """With which its values begin; empty for those that are not encrypted."""

    def seal(self, value: bytes, place: bytes) -> bytes: ...

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Raises ValueError."""


class Identity:
    """Values as they are."""

    prefix = b""

    def seal(self, value: bytes, place: bytes) -> bytes:
        return value

    def open(self, sealed: bytes, place: bytes) -> bytes:
        return sealed


class AesGcm:
    """AES in Galois/counter mode, with a random nonce; the place is authenticated."""

    def __init__(self, name: str, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.prefix = _MARK + f"aesgcm:v1:{name}:".encode()
        self._cipher = AESGCM(key)

    def seal(self, value: bytes, place: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place)
        except InvalidTag:
            raise ValueError("the value, its key or its place is not what it was") from None


class AesCbc:
    """AES in cipher block chaining mode with PKCS#7 padding."""

    def __init__(self, name: str, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.algorithms import AES

        self.prefix = _MARK + f"aescbc:v1:{name}:".encode()
        self._algorithm = AES(key)

    def seal(self, value: bytes, place: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.modes import CBC
        from cryptography.hazmat.primitives.padding import PKCS7

        start = os.urandom(_IV_BYTES)
        padder = PKCS7(128).padder()
        encryptor = Cipher(self._algorithm, CBC(start)).encryptor()
        return start + encryptor.update(padder.update(value) + padder.finalize()) + encryptor.finalize()

    def open(self, sealed: bytes, place: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.modes import CBC
        from cryptography.hazmat.primitives.padding import PKCS7

        decryptor = Cipher(self._algorithm, CBC(sealed[:_IV_BYTES])).decryptor()
        unpadder = PKCS7(128).unpadder()
        padded = decryptor.update(sealed[_IV_BYTES:]) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()


class Rule:
    """The providers of some kinds; the first one writes. `kinds` are `secrets`, `deployments.apps`, `*.apps`, `*.` or `*.*`."""

    def __init__(self, kinds: Sequence[str], providers: Sequence[Provider]) -> None:
        self._kinds = frozenset(kinds)
        self._providers = tuple(providers)

    def covers(self, group: str, plural: str) -> bool:
        name = f"{plural}.{group}" if group else plural
        return bool({name, f"*.{group}", "*.*"} & self._kinds)

    def seal(self, value: bytes, place: str) -> bytes:
        provider = self._providers[0]
        return provider.prefix + provider.seal(value, place.encode())

    def open(self, sealed: bytes, place: str) -> tuple[bytes, bool]:
        """The value, and whether it would be written otherwise now. Raises Undecryptable."""
        for number, provider in enumerate(self._providers):
            if provider.prefix and sealed.startswith(provider.prefix):
                try:
                    return provider.open(sealed[len(provider.prefix) :], place.encode()), number > 0
                except ValueError as error:
                    raise Undecryptable(f"{place} cannot be decrypted: {error}") from error
            if not provider.prefix and not sealed.startswith(_MARK):
                return sealed, number > 0
        raise Undecryptable(f"{place} cannot be decrypted: no matching prefix found")


class EncryptedStore:
    """A store whose values are encrypted by `rules`; the first that covers a kind holds."""

    def __init__(self, store: Store, rules: Sequence[Rule]) -> None:
        self._store = store
        self._rules = tuple(rules)
        self._known: dict[tuple[str, str], Rule | None] = {}
        self._stale: set[str] = set()

    def is_stale(self, key: str) -> bool:
        """Whether a value that does not change is to be written all the same, because it would be encrypted otherwise now."""
        return key in self._stale

    async def revision(self) -> Revision:
        return await self._store.revision()

    async def get(self, key: str) -> Entry | None:
        entry = await self._store.get(key)
        return None if entry is None else self._opened(entry)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, at: Revision | None = None) -> Page:
        return self._page(await self._store.list(prefix, after=after, limit=limit, at=at))

    async def put(
        self, key: str, value: bytes, *, expect: Revision | None = None, ttl_s: float | None = None
    ) -> Revision:
        rule = self._rule(key)
        sealed = value if rule is None else rule.seal(value, key)
        revision = await self._store.put(key, sealed, expect=expect, ttl_s=ttl_s)
        self._stale.discard(key)
        return revision

    async def delete(self, key: str, *, expect: Revision | None = None) -> Revision:
        revision = await self._store.delete(key, expect=expect)
        self._stale.discard(key)
        return revision

    async def follow(self, prefix: str, deliver: Deliver, *, after: Revision, restart: Restart | None = None) -> Feed:
        def pass_on(changes: Sequence[Change]) -> None:
            deliver(self._changes(changes))

        def begin_anew(page: Page) -> None:
            assert restart is not None
            restart(self._page(page))

        return await self._store.follow(prefix, pass_on, after=after, restart=None if restart is None else begin_anew)

    async def watch(self, prefix: str, *, after: Revision) -> AsyncGenerator[Sequence[Change], None]:
        watching = self._store.watch(prefix, after=after)
        try:
            async for changes in watching:
                yield self._changes(changes)
        finally:
            await watching.aclose()

    async def compact(self, before: Revision) -> None:
        await self._store.compact(before)

    async def close(self) -> None:
        await self._store.close()

    def _page(self, page: Page) -> Page:
        return msgspec.structs.replace(page, entries=[self._opened(entry) for entry in page.entries])

    def _opened(self, entry: Entry) -> Entry:
        rule = self._rule(entry.key)
        if rule is None:
            return entry
        value = self._open(rule, entry.key, entry.value)
        return Entry(entry.key, value, entry.mod_revision)

    def _open(self, rule: Rule, key: str, sealed: bytes) -> bytes:
        value, is_stale = rule.open(sealed, key)
        if is_stale:
            self._stale.add(key)
        else:
            self._stale.discard(key)
        return value

    def _changes(self, changes: Sequence[Change]) -> Sequence[Change]:
        """The changes with their values opened. One that cannot be opened is told in the log and left out: feeds cannot fail."""
        opened = []
        for change in changes:
            rule = self._rule(change.key)
            if rule is not None and change.value is not None:
                try:
                    value = self._open(rule, change.key, change.value)
                except Undecryptable as error:
                    log.error("a change cannot be read", key=change.key, error=str(error))
                    continue
                change = Change(change.key, change.revision, value, change.previous)
            opened.append(change)
        return opened

    def _rule(self, key: str) -> Rule | None:
        parts = key.split("/", 4)
        if len(parts) < 5:
            return None
        kind = parts[2], parts[3]
        if kind not in self._known:
            group = "" if kind[0] == "core" else kind[0]
            self._known[kind] = next((rule for rule in self._rules if rule.covers(group, kind[1])), None)
        return self._known[kind]


def rules_of(document: Any) -> Sequence[Rule]:
    """The rules of an EncryptionConfiguration. Raises ConfigurationError."""
    if not isinstance(document, dict) or document.get("kind") != "EncryptionConfiguration":
        raise ConfigurationError("the document is not an EncryptionConfiguration")
    if document.get("apiVersion") not in _API_VERSIONS:
        raise ConfigurationError(f"apiVersion must be {_API_VERSIONS[0]}")
    entries = document.get("resources") or ()
    if not entries:
        raise ConfigurationError("resources: must be set")
    return [_rule_of(entry, f"resources[{index}]") for index, entry in enumerate(entries)]


def _rule_of(entry: Mapping[str, Any], where: str) -> Rule:
    kinds, providers = entry.get("resources") or (), entry.get("providers") or ()
    if not kinds or not providers:
        raise ConfigurationError(f"{where}: resources and providers must be set")
    found: list[Provider] = []
    for index, provider in enumerate(providers):
        found += _providers_of(provider, f"{where}.providers[{index}]")
    return Rule(kinds, found)


def _providers_of(provider: Mapping[str, Any], where: str) -> list[Provider]:
    if len(provider) != 1:
        raise ConfigurationError(f"{where}: exactly one provider must be named")
    ((name, settings),) = provider.items()
    if name == "identity":
        return [Identity()]
    if name not in ("aesgcm", "aescbc"):
        raise ConfigurationError(f"{where}: {name} is not supported; use aesgcm, aescbc or identity")
    keys = (settings or {}).get("keys") or ()
    if not keys:
        raise ConfigurationError(f"{where}.{name}.keys: must be set")
    kind = AesGcm if name == "aesgcm" else AesCbc
    names = [str(key.get("name", "")) for key in keys]
    if not all(names) or len(set(names)) < len(names) or any(":" in each for each in names):
        raise ConfigurationError(f"{where}.{name}.keys: every key needs a name of its own, without a colon")
    return [kind(key["name"], _secret(key, f"{where}.{name}.keys")) for key in keys]


def _secret(key: Mapping[str, Any], where: str) -> bytes:
    try:
        secret = base64.b64decode(str(key.get("secret", "")), validate=True)
    except binascii.Error as error:
        raise ConfigurationError(f"{where}: the secret of {key['name']} is not base64") from error
    if len(secret) not in (16, 24, 32):
        raise ConfigurationError(
            f"{where}: the secret of {key['name']} must have 16, 24 or 32 bytes, not {len(secret)}"
        )
    return secret
