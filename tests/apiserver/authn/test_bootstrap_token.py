"""Tokens by which nodes join."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from pilothouse.api import gvr
from pilothouse.api.meta import format_time
from pilothouse.apiserver.authn.bootstrap_token import BootstrapTokens
from pilothouse.apiserver.objects import MemoryObjects
from pilothouse.kit.clock import VirtualClock

TOKEN = "abcdef.0123456789abcdef"
GOOD = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}


def tokens(type: str = "bootstrap.kubernetes.io/token", **data: str) -> BootstrapTokens:
    values = {**GOOD, **{key.replace("_", "-"): value for key, value in data.items()}}
    secret: dict[str, Any] = {
        "metadata": {"namespace": "kube-system", "name": "bootstrap-token-abcdef"},
        "type": type,
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }
    return BootstrapTokens(MemoryObjects([(gvr.SECRETS, secret)]), ("api",), VirtualClock())


async def test_a_good_token_names_its_user() -> None:
    extra = "system:bootstrappers:kubeadm:default-node-token"
    verified = await tokens(auth_extra_groups=extra).verify(TOKEN, ("api", "other"))
    assert verified is not None
    assert verified.user.name == "system:bootstrap:abcdef"
    assert verified.user.groups == ("system:bootstrappers", extra)
    assert verified.audiences == ("api",)
    later = format_time(VirtualClock().now() + 60)
    assert await tokens(expiration=later).verify(TOKEN, ("api",)) is not None


@pytest.mark.parametrize(
    "data",
    [
        {"token_secret": "0123456789abcdeX"},
        {"token_id": "abcdeX"},
        {"usage_bootstrap_authentication": "false"},
        {"expiration": "0001-01-01T00:00:00Z"},
        {"expiration": "nonsense"},
        {"auth_extra_groups": "system:masters"},
        {"type": "Opaque"},
    ],
)
async def test_others_are_nobody(data: dict[str, str]) -> None:
    assert await tokens(**data).verify(TOKEN, ("api",)) is None


@pytest.mark.parametrize("token", ["", "abcdef", "abcdeg.0123456789abcdef", TOKEN.upper(), TOKEN + "\n"])
async def test_other_tokens(token: str) -> None:
    assert await tokens().verify(token, ("api",)) is None
    assert await tokens().verify(TOKEN, ("other",)) is None
