"""Values that are encrypted in the store beneath."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.kit.clock import VirtualClock
from pilothouse.store.base import Change, Store
from pilothouse.store.encryption import ConfigurationError, EncryptedStore, Rule, Undecryptable, rules_of
from pilothouse.store.memory import MemoryStore
from tests.store.suite import LocalSuite

SECRET = "/registry/core/secrets/default/a"
KEY = base64.b64encode(b"k" * 32).decode()
OTHER = base64.b64encode(b"o" * 32).decode()


def rules(*providers: dict[str, Any], kinds: Sequence[str] = ("secrets",)) -> Sequence[Rule]:
    entry = {"resources": list(kinds), "providers": list(providers)}
    return rules_of(
        {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": [entry]}
    )


def keys(provider: str, **secrets: str) -> dict[str, Any]:
    return {provider: {"keys": [{"name": name, "secret": secret} for name, secret in secrets.items()]}}


class TestEncryptedStore(LocalSuite):
    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    async def store(self, clock: VirtualClock) -> AsyncIterator[Store]:
        beneath = MemoryStore(clock, history_writes=10_000)
        yield EncryptedStore(beneath, rules(keys("aesgcm", a=KEY), kinds=["*.*"]))
        await beneath.close()

    @pytest.fixture
    def run_with_store(self) -> Callable[[Callable[[Store], Awaitable[None]]], None]:
        async def run(body: Callable[[Store], Awaitable[None]]) -> None:
            beneath = MemoryStore(VirtualClock())
            await body(EncryptedStore(beneath, rules(keys("aescbc", a=KEY), kinds=["*.*"])))
            await beneath.close()

        return lambda body: asyncio.run(run(body))


@pytest.fixture
async def beneath() -> AsyncIterator[MemoryStore]:
    store = MemoryStore(VirtualClock())
    yield store
    await store.close()


async def raw(store: Store, key: str = SECRET) -> bytes:
    entry = await store.get(key)
    assert entry is not None
    return entry.value


@pytest.mark.parametrize("provider", ["aesgcm", "aescbc"])
async def test_only_the_kinds_named_are_encrypted(beneath: MemoryStore, provider: str) -> None:
    store = EncryptedStore(beneath, rules(keys(provider, one=KEY)))
    await store.put(SECRET, b"password")
    await store.put("/registry/core/configmaps/default/a", b"plain")
    kept = await raw(beneath)
    assert kept.startswith(f"k8s:enc:{provider}:v1:one:".encode())
    assert b"password" not in kept
    assert await raw(store) == b"password"
    assert await raw(beneath, "/registry/core/configmaps/default/a") == b"plain"


async def test_keys_are_replaced(beneath: MemoryStore) -> None:
    await EncryptedStore(beneath, rules({"identity": {}})).put(SECRET, b"x")
    store = EncryptedStore(beneath, rules(keys("aescbc", one=KEY), {"identity": {}}))
    assert (await raw(store), store.is_stale(SECRET)) == (b"x", True)
    await store.put(SECRET, b"x")
    assert not store.is_stale(SECRET)
    store = EncryptedStore(beneath, rules(keys("aesgcm", two=OTHER), keys("aescbc", one=KEY)))
    assert (await raw(store), store.is_stale(SECRET)) == (b"x", True)
    await store.put(SECRET, b"x")
    assert await raw(EncryptedStore(beneath, rules(keys("aesgcm", two=OTHER)))) == b"x"


async def test_followers_see_what_was_written(beneath: MemoryStore) -> None:
    store = EncryptedStore(beneath, rules(keys("aesgcm", one=KEY)))
    seen: list[Change] = []
    await store.follow("/registry/core/secrets/", seen.extend, after=await store.revision())
    await store.put(SECRET, b"x")
    await store.delete(SECRET)
    assert [change.value for change in seen] == [b"x", None]


async def test_what_cannot_be_read_is_an_error(beneath: MemoryStore) -> None:
    store = EncryptedStore(beneath, rules(keys("aesgcm", one=KEY)))
    await store.put(SECRET, b"x")
    moved = f"{SECRET}2"
    await beneath.put(moved, await raw(beneath))
    with pytest.raises(Undecryptable, match="is not what it was"):
        await store.get(moved)
    with pytest.raises(Undecryptable, match="no matching prefix"):
        await EncryptedStore(beneath, rules(keys("aesgcm", other=KEY))).list("/registry/core/secrets/")
    with pytest.raises(Undecryptable):
        await EncryptedStore(beneath, rules({"identity": {}})).get(SECRET)
    await beneath.put(SECRET, b"never encrypted")
    with pytest.raises(Undecryptable):
        await store.get(SECRET)


@given(st.binary(), st.sampled_from(["aesgcm", "aescbc"]))
def test_every_value_comes_back(value: bytes, provider: str) -> None:
    (rule,) = rules(keys(provider, one=KEY))
    assert rule.open(rule.seal(value, SECRET), SECRET) == (value, False)


@given(st.binary(), st.sampled_from(["aesgcm", "aescbc"]))
def test_damaged_values_are_told(value: bytes, provider: str) -> None:
    (rule,) = rules(keys(provider, one=KEY))
    with contextlib.suppress(Undecryptable):
        rule.open(f"k8s:enc:{provider}:v1:one:".encode() + value, SECRET)


@pytest.mark.parametrize(
    "providers",
    [
        [],
        [{}],
        [{"aesgcm": {}}],
        [{"aesgcm": {}, "identity": {}}],
        [keys("aesgcm", a="nonsense")],
        [keys("aesgcm", a=base64.b64encode(b"short").decode())],
        [keys("secretbox", a=KEY)],
        [{"kms": {"name": "x"}}],
    ],
)
def test_configurations_that_cannot_be(providers: list[Any]) -> None:
    with pytest.raises(ConfigurationError):
        rules(*providers)


def test_which_kinds_a_rule_covers() -> None:
    def covered(kind: str) -> tuple[bool, bool, bool]:
        (rule,) = rules({"identity": {}}, kinds=[kind])
        return rule.covers("", "secrets"), rule.covers("apps", "deployments"), rule.covers("batch", "jobs")

    assert covered("secrets") == (True, False, False)
    assert covered("*.") == (True, False, False)
    assert covered("*.apps") == (False, True, False)
    assert covered("deployments.apps") == (False, True, False)
    assert covered("*.*") == (True, True, True)
    for document in (None, {}, {"kind": "EncryptionConfiguration"}):
        with pytest.raises(ConfigurationError):
            rules_of(document)
