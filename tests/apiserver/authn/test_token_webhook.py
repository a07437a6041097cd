"""Tokens that a webhook knows, asked over TLS."""

import random

import pytest
import yaml

from pilothouse.api.status import Unauthorized
from pilothouse.apiserver.authn.foreign import Foreign, ForeignOptions
from pilothouse.kit.clock import VirtualClock
from tests.apiserver.webhooks.server import serving

API = ("api",)
JANE = {"username": "jane", "uid": "1", "groups": ["g"], "extra": {"k": ["v"]}}


@pytest.fixture
async def hook(tmp_path):
    async with serving(tmp_path / "pki") as hook:
        hook.answer = lambda review: {**review, "status": {"authenticated": True, "user": JANE}}
        yield hook


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def made(tmp_path, hook, clock):
    def make(**options):
        file = tmp_path / "webhook.yaml"
        cluster = {"server": f"https://localhost:{hook.port}/authn", "certificate-authority-data": hook.bundle}
        config = {
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "it"}}],
            "clusters": [{"name": "it", "cluster": cluster}],
        }
        file.write_text(yaml.safe_dump(config))
        foreign = Foreign(ForeignOptions(webhook_file=str(file), **options), API, (), clock, random.Random(1))
        return foreign.webhook

    return make


async def test_a_user(made, hook, clock):
    webhook = made(webhook_version="v1")
    verified = await webhook.verify("secret", API)
    user = verified.user
    assert (user.name, user.uid, user.groups, user.extra, verified.audiences) == (
        "jane",
        "1",
        ("g",),
        {"k": ("v",)},
        API,
    )
    (review,) = hook.reviews
    assert (review["apiVersion"], review["spec"]) == (
        "authentication.k8s.io/v1",
        {"token": "secret", "audiences": ["api"]},
    )
    assert hook.targets == ["/authn?timeout=30s"]
    await webhook.verify("secret", API)
    assert len(hook.reviews) == 1
    await clock.advance(120)
    await webhook.verify("secret", API)
    assert len(hook.reviews) == 2


async def test_who_is_not_known_is_remembered(made, hook):
    webhook = made()
    hook.answer = lambda review: {**review, "status": {"authenticated": False}}
    assert await webhook.verify("x", API) is None
    assert await webhook.verify("x", API) is None
    assert len(hook.reviews) == 1
    assert hook.reviews[0]["apiVersion"] == "authentication.k8s.io/v1beta1"


async def test_errors_are_not(made, hook):
    webhook = made()
    hook.answer = lambda review: {**review, "status": {"authenticated": False, "error": "too old"}}
    for _ in range(2):
        with pytest.raises(Unauthorized, match="too old"):
            await webhook.verify("x", API)
    hook.answer = lambda review: (401, b"who are you")
    with pytest.raises(Unauthorized, match="the server rejected our request for an unknown reason"):
        await webhook.verify("x", API)
    assert len(hook.reviews) == 3


async def test_answers_for_others(made, hook):
    webhook = made()
    hook.answer = lambda review: {**review, "status": {"authenticated": True, "user": JANE, "audiences": ["other"]}}
    assert await webhook.verify("x", API) is None
    assert (await webhook.verify("x", ("other", "third"))).audiences == ("other",)


async def test_an_answer_that_is_none(made, hook):
    webhook = made()
    hook.answer = lambda review: (200, b"hello")
    with pytest.raises(Unauthorized, match="json parse error"):
        await webhook.verify("x", API)


def test_an_unknown_version(made):
    with pytest.raises(ValueError, match='unsupported authentication webhook version "v2"'):
        made(webhook_version="v2")
