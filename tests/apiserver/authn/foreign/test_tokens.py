"""Tokens of an issuer that speaks TLS: discovery, keys, their change, and configurations that change."""

import asyncio
import random
from contextlib import asynccontextmanager

import orjson
import pytest
import yaml

from pilothouse.api.status import Unauthorized
from pilothouse.apiserver.authn.foreign import Foreign, ForeignOptions
from pilothouse.apiserver.authn.jwt.configuration import Configuration, ConfigurationError, OidcFlags
from pilothouse.apiserver.authn.jwt.tokens import JwtTokens
from pilothouse.apiserver.server_id import hashed
from pilothouse.kit.clock import VirtualClock
from tests.apiserver.authn.foreign.issuer import SigningKey, serving

API = ("api",)


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
async def issuer(tmp_path, clock):
    async with serving(tmp_path / "pki", clock.now) as issuer:
        yield issuer


def jwt(issuer, audiences=("me",), **fields):
    mappings = {"username": {"claim": "sub", "prefix": "x:"}, "groups": {"claim": "groups", "prefix": ""}}
    spec = {"url": issuer.url, "certificateAuthority": issuer.authority, "audiences": list(audiences)}
    if len(audiences) > 1:
        spec["audienceMatchPolicy"] = "MatchAny"
    return {"issuer": spec, "claimMappings": mappings, **fields}


async def until(holds):
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come to that")


@asynccontextmanager
async def at_work(tokens):
    task = asyncio.ensure_future(tokens.run())
    try:
        yield tokens
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def ready(clock, *jwts, **options):
    async with at_work(JwtTokens(Configuration(jwts), API, clock, **options)) as tokens:
        await until(lambda: not any(provider.problem for provider in tokens.providers.values()))
        yield tokens


async def test_a_token_is_a_user(issuer, clock):
    async with ready(clock, jwt(issuer)) as tokens:
        verified = await tokens.verify(issuer.token(groups=["a", "b"], jti="7"), API)
        assert (verified.user.name, verified.user.groups, verified.audiences) == ("x:jane", ("a", "b"), API)
        assert verified.user.extra == {"authentication.kubernetes.io/credential-id": ("JTI=7",)}
        assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
        assert tokens.latencies.keys() == {("success", issuer.url)}


async def test_tokens_that_are_not_the_issuers(issuer, clock):
    async with ready(clock, jwt(issuer)) as tokens:
        for foreign in ("x", "a.b.c", issuer.token(iss="https://elsewhere")):
            assert await tokens.verify(foreign, API) is None
        assert await tokens.verify(issuer.token(), ("not the API",)) is None
        assert issuer.asked == ["/.well-known/openid-configuration"]


async def test_known_keys_need_no_fetching(issuer, clock):
    async with ready(clock, jwt(issuer)) as tokens:
        await asyncio.gather(*(tokens.verify(issuer.token(n=n), API) for n in range(5)))
        assert issuer.asked.count("/keys") == 1
        await tokens.verify(issuer.token(), API)
        assert issuer.asked.count("/keys") == 1


async def test_keys_that_change(issuer, clock):
    async with ready(clock, jwt(issuer)) as tokens:
        old = issuer.token()
        await tokens.verify(old, API)
        issuer.keys = [SigningKey("two")]
        assert (await tokens.verify(issuer.token(), API)).user.name == "x:jane"
        with pytest.raises(Unauthorized, match="failed to verify id token signature"):
            await tokens.verify(old, API)


async def test_keys_are_kept_as_long_as_the_issuer_says(issuer, clock):
    page = issuer.page("/keys")
    issuer.pages["/keys"] = (*page, {"cache-control": "max-age=100"})
    async with ready(clock, jwt(issuer)) as tokens:
        await tokens.verify(issuer.token(), API)
        stranger = issuer.token(SigningKey("stranger"))
        for _ in range(2):
            with pytest.raises(Unauthorized, match="failed to verify id token signature"):
                await tokens.verify(stranger, API)
        assert issuer.asked.count("/keys") == 1
        await clock.advance(71)
        with pytest.raises(Unauthorized):
            await tokens.verify(stranger, API)
        assert issuer.asked.count("/keys") == 2


async def test_an_issuer_that_is_down_when_keys_are_wanted(issuer, clock):
    async with ready(clock, jwt(issuer)) as tokens:
        issuer.pages["/keys"] = 503, b"later"
        with pytest.raises(Unauthorized, match="fetching keys oidc: get keys failed: 503: later"):
            await tokens.verify(issuer.token(), API)
        del issuer.pages["/keys"]
        await tokens.verify(issuer.token(), API)
        issuer.pages["/keys"] = 503, b"later"
        assert await tokens.verify(issuer.token(), API)
        provider = tokens.providers[issuer.url]
        assert provider.fetches.keys() == {"success", "failure"}
        assert provider.key_set_hash.startswith("sha256:")


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": 1}, "oidc: token is expired (Token Expiry: 1970-01-01 00:00:01 +0000 UTC)"),
        ({"exp": None}, "oidc: token is expired"),
        ({"nbf": 1_700_000_061}, "before the nbf (not before) time"),
        ({"aud": "you"}, 'oidc: verify token: oidc: expected audience "me" got ["you"]'),
        ({"aud": None}, 'expected audience "me" got []'),
        ({"sub": None}, 'oidc: parse username claims "sub": claim not present'),
        ({"sub": 7}, "json: cannot unmarshal number into Go value of type string"),
        ({"groups": {"a": 1}}, 'oidc: parse groups claim "groups": json: cannot unmarshal object'),
    ],
)
async def test_claims_that_are_refused(issuer, clock, claims, message):
    async with ready(clock, jwt(issuer)) as tokens:
        with pytest.raises(Unauthorized) as caught:
            await tokens.verify(issuer.token(**claims), API)
        assert message in caught.value.message
        assert tokens.latencies.keys() == {("failure", issuer.url)}


async def test_a_small_difference_between_clocks_is_none(issuer, clock):
    async with ready(clock, jwt(issuer)) as tokens:
        assert await tokens.verify(issuer.token(nbf=1_700_000_060), API)


async def test_several_audiences(issuer, clock):
    async with ready(clock, jwt(issuer, ("a", "b"))) as tokens:
        assert await tokens.verify(issuer.token(aud=["x", "b"]), API)
        with pytest.raises(Unauthorized, match=r'expected audience in \["a" "b"\] got \["c"\]'):
            await tokens.verify(issuer.token(aud="c"), API)


async def test_an_algorithm_that_is_not_wanted(issuer, clock):
    configuration = Configuration((jwt(issuer),), algorithms=("RS256",))
    async with at_work(JwtTokens(configuration, API, clock)) as tokens:
        await until(lambda: not tokens.providers[issuer.url].problem)
        with pytest.raises(Unauthorized, match=r'unsupported algorithm, expected \["RS256"\] got "ES256"'):
            await tokens.verify(issuer.token(), API)


async def test_an_issuer_that_comes_late(issuer, clock):
    issuer.pages["/.well-known/openid-configuration"] = 500, b"not yet"
    async with at_work(JwtTokens(Configuration((jwt(issuer),)), API, clock)) as tokens:
        provider = tokens.providers[issuer.url]
        assert "is not initialized" in provider.problem
        with pytest.raises(Unauthorized, match="oidc: authenticator not initialized"):
            await tokens.verify(issuer.token(), API)
        await until(lambda: provider.problem == "500: not yet")
        del issuer.pages["/.well-known/openid-configuration"]
        await clock.advance(10)
        await until(lambda: not provider.problem)
        assert await tokens.verify(issuer.token(), API)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"issuer": "https://x"}, 'expected "https://localhost:{port}" got "https://x"'),
        ({"jwks_uri": ""}, "provider did not return JWKS URL"),
    ],
)
async def test_discovery_that_does_not_fit(issuer, clock, overrides, message):
    issuer.overrides = overrides
    async with at_work(JwtTokens(Configuration((jwt(issuer),)), API, clock)) as tokens:
        await until(lambda: message.format(port=issuer.port) in tokens.providers[issuer.url].problem)


async def test_a_certificate_of_a_foreign_authority(issuer, clock):
    spec = jwt(issuer)
    del spec["issuer"]["certificateAuthority"]
    async with at_work(JwtTokens(Configuration((spec,)), API, clock)) as tokens:
        await until(lambda: "CERTIFICATE_VERIFY_FAILED" in tokens.providers[issuer.url].problem)


async def test_discovery_from_another_place(issuer, clock):
    spec = jwt(issuer)
    spec["issuer"] |= {"url": "https://issuer.example", "discoveryURL": f"{issuer.url}/d"}
    document = {"issuer": "https://issuer.example", "jwks_uri": f"{issuer.url}/keys"}
    issuer.pages["/d"] = 301, b"", {"location": "/elsewhere"}
    issuer.pages["/elsewhere"] = 200, orjson.dumps(document)
    async with ready(clock, spec) as tokens:
        assert await tokens.verify(issuer.token(iss="https://issuer.example"), API)


async def test_groups_that_are_kept_elsewhere(issuer, clock):
    sources = {
        "_claim_names": {"groups": "s"},
        "_claim_sources": {"s": {"endpoint": f"{issuer.url}/g", "access_token": "t"}},
    }
    issuer.pages["/g"] = 200, issuer.token(groups=["far"]).encode()
    async with ready(clock, jwt(issuer)) as tokens:
        assert (await tokens.verify(issuer.token(**sources), API)).user.groups == ("far",)
        issuer.pages["/g"] = 500, b""
        with pytest.raises(
            Unauthorized, match='could not expand distributed claims: while getting distributed claim "groups"'
        ):
            await tokens.verify(issuer.token(**sources), API)
        issuer.pages["/g"] = 200, issuer.token().encode()
        with pytest.raises(Unauthorized, match="did not contain claim: groups"):
            await tokens.verify(issuer.token(**sources), API)
        with pytest.raises(Unauthorized, match="oidc: no claim sources"):
            await tokens.verify(issuer.token(_claim_names={"groups": "s"}), API)


def write(file, *jwts, **fields):
    head = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}
    file.write_text(yaml.safe_dump({**head, "jwt": list(jwts), **fields}))


async def test_a_file_that_changes(issuer, clock, tmp_path):
    file = tmp_path / "authentication.yaml"
    write(file)
    foreign = Foreign(ForeignOptions(str(file)), API, ("https://self",), clock, random.Random(1))
    (tokens,) = foreign.methods
    async with at_work(foreign):
        await clock.advance(1)
        assert await tokens.verify(issuer.token(), API) is None
        write(file, jwt(issuer))
        await clock.advance(1)
        await until(lambda: issuer.asked == ["/.well-known/openid-configuration"])
        await asyncio.sleep(0.05)
        await clock.advance(1)
        assert tokens.reloads.counts == {"success": 1}
        assert (await tokens.verify(issuer.token(), API)).user.name == "x:jane"
        for bad in ({"jwt": "x"}, {"anonymous": {"enabled": True}}):
            write(file, **bad)
            await clock.advance(1)
        self_issued = jwt(issuer)
        self_issued["issuer"]["url"] = "https://self"
        write(file, self_issued)
        await clock.advance(1)
        assert tokens.reloads.counts == {"success": 1, "failure": 3}
        assert await tokens.verify(issuer.token(), API)
        lines = {line for family in foreign.families("server") for line in family.lines}
        prefix, server = "apiserver_authentication_", f'apiserver_id_hash="{hashed("server")}"'
        which = f'jwt_issuer_hash="{hashed(issuer.url)}"'
        keys = tokens.providers[issuer.url].key_set_hash
        assert {
            f'{prefix}config_controller_automatic_reloads_total{{status="failure",{server}}} 3',
            f'{prefix}jwt_authenticator_latency_seconds_count{{result="success",{which}}} 2',
            f'{prefix}jwt_authenticator_jwks_fetch_last_key_set_info{{{which},{server},hash="{keys}"}} 1',
        } <= lines
        write(file)
        await clock.advance(1)
        assert await tokens.verify(issuer.token(), API) is None
        await clock.advance(60)


async def test_new_issuers_that_cannot_be_reached_are_not_taken(issuer, clock, tmp_path):
    file = tmp_path / "authentication.yaml"
    write(file, jwt(issuer))
    foreign = Foreign(ForeignOptions(str(file)), API, (), clock, random.Random(1))
    (tokens,) = foreign.methods
    async with at_work(foreign):
        await until(lambda: not tokens.providers[issuer.url].problem)
        other = jwt(issuer)
        other["issuer"]["discoveryURL"] = f"{issuer.url}/nowhere"
        write(file, other)
        for _ in range(80):
            await clock.advance(1)
        await until(lambda: tokens.reloads.counts == {"failure": 1})
        assert await tokens.verify(issuer.token(), API)


@pytest.mark.parametrize(
    ("flags", "name", "groups"),
    [
        ({}, "{url}#jane", ()),
        ({"username_prefix": "-"}, "jane", ()),
        ({"username_prefix": "p:", "groups_claim": "roles", "groups_prefix": "g:"}, "p:jane", ("g:one",)),
        ({"username_claim": "email"}, "jane@x", ()),
    ],
)
async def test_flags(issuer, clock, flags, name, groups):
    oidc = OidcFlags(
        issuer.url, "me", issuer.authority, algorithms=("ES256",), required_claims={"tenant": "t"}, **flags
    )
    foreign = Foreign(ForeignOptions(oidc=oidc), API, (), clock, random.Random(1))
    (tokens,) = foreign.methods
    async with at_work(foreign):
        await until(lambda: not tokens.providers[issuer.url].problem)
        found = await tokens.verify(issuer.token(tenant="t", roles="one", email="jane@x"), API)
        assert (found.user.name, found.user.groups) == (name.format(url=issuer.url), groups)
        with pytest.raises(Unauthorized, match="oidc: required claim tenant not present in ID token"):
            await tokens.verify(issuer.token(email="jane@x"), API)
        with pytest.raises(Unauthorized, match=r"required claim tenant value does not match. Got = u, want = t"):
            await tokens.verify(issuer.token(tenant="u", email="jane@x"), API)


def test_flags_that_cannot_be(clock):
    with pytest.raises(ConfigurationError, match="URL scheme must be https"):
        Foreign(ForeignOptions(oidc=OidcFlags("http://x", "me")), API, (), clock, random.Random(1))
    with pytest.raises(ConfigurationError, match='oidc: unsupported signing alg: "HS256"'):
        Foreign(
            ForeignOptions(oidc=OidcFlags("https://x", "me", algorithms=("HS256",))), API, (), clock, random.Random(1)
        )


async def test_anonymous_requests_by_the_file(clock, tmp_path):
    file = tmp_path / "authentication.yaml"
    write(file, anonymous={"enabled": True, "conditions": [{"path": "/livez"}]})
    foreign = Foreign(ForeignOptions(str(file)), API, (), clock, random.Random(1))
    assert (foreign.allow_anonymous, foreign.anonymous_paths) == (True, ("/livez",))
    with pytest.raises(
        ConfigurationError, match="--anonymous-auth flag cannot be set when anonymous field is configured"
    ):
        Foreign(ForeignOptions(str(file), is_anonymous_given=True), API, (), clock, random.Random(1))
