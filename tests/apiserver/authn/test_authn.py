import asyncio
import base64
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from pilothouse.api import gvr as kinds
from pilothouse.api.meta import format_time
from pilothouse.api.status import Unauthorized
from pilothouse.api.user import User
from pilothouse.apiserver.authn import issuer
from pilothouse.apiserver.authn.bearer import WARNINGS, BearerTokens
from pilothouse.apiserver.authn.chain import Chain
from pilothouse.apiserver.authn.request_header import HeaderNames, RequestHeader
from pilothouse.apiserver.authn.service_account import ServiceAccountTokens
from pilothouse.apiserver.authn.token_file import TokenFile
from pilothouse.apiserver.authn.x509 import FOLLOW_S, ClientCertificates
from pilothouse.apiserver.objects import MemoryObjects
from pilothouse.kit import certificate
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.http.fields import Fields
from pilothouse.kit.http.message import Peer, Request
from pilothouse.kit.pki import DAY_S, Authority, Certificate, Pki, SigningKey

ISSUER = issuer.DEFAULT_ISSUER


def request(headers=None, cert=None):
    return Request("GET", "/", "", headers or {}, b"", Peer("127.0.0.1", cert, True))


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    pki = Pki(tmp_path_factory.mktemp("pki"), VirtualClock())
    pki.ensure(
        [
            Authority("ca", "kubernetes"),
            Authority("other", "kubernetes"),
            SigningKey("sa"),
            SigningKey("sa2"),
            Certificate("admin", "admin", organizations=("system:masters", "b")),
            Certificate("server", "server", usages=("server",)),
            Certificate("stranger", "admin", authority="other"),
            Certificate("proxy", "front-proxy-client"),
        ]
    )
    return pki


def der(pki, name):
    return certificate.pem_blocks(pki.certificate_path(name).read_bytes())[0]


@pytest.fixture
def certificates(pki, clock):
    return ClientCertificates(pki.certificate_path("ca").read_bytes, clock)


class TestClientCertificates:
    async def test_names_user_and_groups(self, pki, certificates, clock):
        user = await Chain([certificates], clock).authenticate(request(cert=der(pki, "admin")))
        assert (user.name, user.groups) == ("admin", ("system:masters", "b", "system:authenticated"))
        assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("X509SHA256=")

    @pytest.mark.parametrize("name", ["stranger", "server"])
    async def test_a_bad_one_is_refused_and_not_anonymous(self, pki, certificates, clock, name):
        with pytest.raises(Unauthorized, match=r"^Unauthorized$"):
            await Chain([certificates], clock).authenticate(request(cert=der(pki, name)))

    @pytest.mark.parametrize("bundle", [b"", b"-----BEGIN CERTIFICATE-----\nMIIB"])
    def test_bundles_without_authority(self, clock, bundle):
        with pytest.raises(ValueError):
            ClientCertificates(lambda: bundle, clock).check()

    async def test_rubbish(self, certificates):
        with pytest.raises(Unauthorized):
            certificates.identify(b"\x30\x03rub")

    async def test_a_changed_certificate_is_refused(self, pki, certificates):
        changed = der(pki, "admin").replace(b"admin", b"adm1n")
        with pytest.raises(Unauthorized, match="unknown authority"):
            certificates.identify(changed)

    async def test_how_long_they_are_still_good_is_counted(self, pki, certificates, clock):
        await Chain([certificates], clock).authenticate(request(cert=der(pki, "admin")))
        await clock.advance(360 * DAY_S)
        for name in ("admin", "stranger"):
            with suppress(Unauthorized):
                certificates.identify(der(pki, name))
        (family,) = certificates.families()
        counts = [int(line.rpartition(" ")[2]) for line in family.lines if "_bucket" in line]
        assert counts == [0] * 9 + [2] * 2 + [2] * 3 + [3]

    async def test_an_expired_one_is_refused_though_it_is_known(self, pki, certificates, clock):
        certificates.identify(der(pki, "admin"))
        await clock.advance(366 * DAY_S)
        with pytest.raises(Unauthorized, match="expired"):
            certificates.identify(der(pki, "admin"))

    async def test_no_certificate_is_anonymous(self, certificates, clock):
        user = await Chain([certificates], clock).authenticate(request())
        assert user == User("system:anonymous", groups=("system:unauthenticated",))
        with pytest.raises(Unauthorized):
            await Chain([certificates], clock, allow_anonymous=False).authenticate(request())


class TestFrontProxy:
    async def test_speaks_for_a_user(self, pki, certificates):
        groups = [("x-remote-group", "a"), ("x-remote-group", "cn=b,ou=c")]
        headers = Fields([("x-remote-user", "bob"), *groups, ("x-remote-extra-acme%2fx", "1")])
        user = await RequestHeader(certificates).authenticate(request(headers, der(pki, "proxy")))
        assert (user.name, user.groups, user.extra) == ("bob", ("a", "cn=b,ou=c"), {"acme/x": ("1",)})

    async def test_a_group_with_a_comma_is_one_group(self, pki, certificates):
        headers = {"x-remote-user": "bob", "x-remote-group": "x,system:masters"}
        user = await RequestHeader(certificates).authenticate(request(headers, der(pki, "proxy")))
        assert user.groups == ("x,system:masters",)

    async def test_only_a_proxy_is_believed(self, pki, certificates):
        method = RequestHeader(certificates)
        assert await method.authenticate(request({"x-remote-user": "bob"})) is None
        assert await method.authenticate(request({"x-remote-user": "bob"}, der(pki, "stranger"))) is None
        with pytest.raises(Unauthorized, match="not in the allowed list"):
            await method.authenticate(request({"x-remote-user": "bob"}, der(pki, "admin")))


class TestCertificatesThatSayMore:
    """Made here, for authorities do not ask for such names."""

    def make(self, pki, clock, *names):
        authority = x509.load_pem_x509_certificate(pki.certificate_path("ca").read_bytes())
        key = serialization.load_pem_private_key(pki.key_path("ca").read_bytes(), None)
        start = datetime.fromtimestamp(clock.now(), UTC)
        subject = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(oid), value) for oid, value in names])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(7)
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.DER)

    COMMON_NAME, UID = "2.5.4.3", "1.3.6.1.4.1.57683.2"

    def test_a_uid(self, pki, certificates, clock):
        user = certificates.identify(self.make(pki, clock, (self.COMMON_NAME, "jane"), (self.UID, "42")))
        assert (user.name, user.uid) == ("jane", "42")

    def test_two_uids(self, pki, certificates, clock):
        twice = self.make(pki, clock, (self.COMMON_NAME, "jane"), (self.UID, "1"), (self.UID, "2"))
        with pytest.raises(Unauthorized, match=r"expected 1 UID, but found multiple: \[1 2\]"):
            certificates.identify(twice)

    async def test_nobody(self, pki, certificates, clock):
        assert await certificates.authenticate(request(cert=self.make(pki, clock, (self.UID, "42")))) is None


async def test_headers_of_other_names(pki, clock):
    proxies = ClientCertificates(pki.certificate_path("ca").read_bytes, clock)
    names = HeaderNames(("X-User", "X-Other"), ("X-Uid",), ("X-Groups",), ("X-More-",))
    method = RequestHeader(proxies, headers=names)
    headers = {"x-other": "jane", "x-uid": "7", "x-groups": "a", "x-more-Some%2fthing": "b", "x-remote-group": "c"}
    user = await method.authenticate(request(headers, der(pki, "proxy")))
    assert user == User("jane", "7", ("a",), {"Some/thing": ("b",)})


class TestTokenFile:
    @pytest.fixture
    def bearer(self, clock):
        text = 'secret,alice,7,"dev,ops"\n# a comment\nplain,bob,8\n'
        return BearerTokens([TokenFile(text, ("api",))], ("api",), clock)

    async def test_users(self, bearer):
        user = await bearer.authenticate(request({"authorization": "Bearer secret"}))
        assert (user.name, user.uid, user.groups) == ("alice", "7", ("dev", "ops", "system:authenticated"))
        encoded = base64.urlsafe_b64encode(b"plain").decode().rstrip("=")
        headers = {"sec-websocket-protocol": f"v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.{encoded}"}
        assert (await bearer.authenticate(request(headers))).name == "bob"

    @pytest.mark.parametrize("header", ["Bearer wrong", "bearer x y", "Bearer \udcff"])
    async def test_unknown_tokens(self, bearer, header):
        with pytest.raises(Unauthorized, match="invalid bearer token"):
            await bearer.authenticate(request({"authorization": header}))

    async def test_tokens_are_for_the_api_alone(self, bearer):
        assert (await bearer.verify("secret", ("other", "api"))).audiences == ("api",)
        with pytest.raises(Unauthorized, match="invalid bearer token"):
            await bearer.verify("secret", ("other",))

    @pytest.mark.parametrize("header", ["", "Basic abc", "Bearer", "Bearer "])
    async def test_no_token(self, bearer, header):
        assert await bearer.authenticate(request({"authorization": header})) is None

    async def test_a_space_too_many_is_told(self, bearer):
        spaced = request({"authorization": "bearer  secret"})
        assert await bearer.authenticate(spaced) is None
        (warning,) = spaced.context[WARNINGS]
        assert "extra space before the bearer token" in warning

    @pytest.mark.parametrize("text", ["a,b", ",user,1", "x"])
    def test_bad_files(self, text):
        with pytest.raises(ValueError, match="token file line 1"):
            TokenFile(text, ("api",))


ACCOUNT = {"metadata": {"namespace": "ns", "name": "sa", "uid": "u1"}}
POD = {"metadata": {"namespace": "ns", "name": "pod", "uid": "p1"}, "spec": {"nodeName": "n"}}
NODE = {"metadata": {"name": "n", "uid": "n1"}}
SECRET = {"metadata": {"namespace": "ns", "name": "s", "uid": "s1"}}


class TestServiceAccountTokens:
    @pytest.fixture
    def objects(self):
        return MemoryObjects(
            [(kinds.SERVICE_ACCOUNTS, ACCOUNT), (kinds.PODS, POD), (kinds.NODES, NODE), (kinds.SECRETS, SECRET)]
        )

    @pytest.fixture
    def signer(self, pki):
        return issuer.TokenIssuer(pki.key_path("sa").read_bytes())

    @pytest.fixture
    def tokens(self, pki, objects, clock):
        keys = issuer.read_public_keys(pki.public_key_path("sa").read_bytes())
        return ServiceAccountTokens([ISSUER], lambda: keys, objects, clock, (ISSUER,))

    def token(self, signer, clock, **more):
        options = {"account": ACCOUNT, "audiences": [ISSUER], "now": clock.now(), "lifetime_s": 3600, "token_id": "t"}
        return signer.sign(issuer.bound_claims(**{**options, **more}))

    async def test_a_pods_token(self, signer, tokens, clock):
        verified = await tokens.verify(self.token(signer, clock, pod=POD, node=NODE), (ISSUER, "x"))
        assert verified.audiences == (ISSUER,)
        assert verified.user == User(
            "system:serviceaccount:ns:sa",
            "u1",
            ("system:serviceaccounts", "system:serviceaccounts:ns"),
            {
                "authentication.kubernetes.io/pod-name": ("pod",),
                "authentication.kubernetes.io/pod-uid": ("p1",),
                "authentication.kubernetes.io/node-name": ("n",),
                "authentication.kubernetes.io/node-uid": ("n1",),
                "authentication.kubernetes.io/credential-id": ("JTI=t",),
            },
        )

    async def test_rsa_keys_work_too(self, objects, clock):
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(65537, 2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        keys = issuer.read_public_keys(pem)
        tokens = ServiceAccountTokens([ISSUER], lambda: keys, objects, clock, (ISSUER,))
        assert await tokens.verify(self.token(issuer.TokenIssuer(pem), clock), ()) is not None
        document = issuer.jwks(keys)["keys"][0]
        assert (document["kty"], document["alg"], document["e"]) == ("RSA", "RS256", "AQAB")

    @pytest.mark.parametrize("kind", ["pod", "secret", "node"])
    async def test_a_token_dies_with_what_it_is_bound_to(self, signer, tokens, clock, objects, kind):
        gvr, obj = {"pod": (kinds.PODS, POD), "secret": (kinds.SECRETS, SECRET), "node": (kinds.NODES, NODE)}[kind]
        token = self.token(signer, clock, **{kind: obj})
        assert await tokens.verify(token, ())
        objects.put(gvr, {**obj, "metadata": {**obj["metadata"], "uid": "other"}})
        with pytest.raises(Unauthorized, match=f"{kind} UID .other. does not match"):
            await tokens.verify(token, ())
        objects.remove(gvr, obj)
        with pytest.raises(Unauthorized, match="invalidated"):
            await tokens.verify(token, ())

    async def test_the_account_must_be_the_same(self, signer, tokens, clock, objects):
        token = self.token(signer, clock)
        deleted = {**ACCOUNT["metadata"], "deletionTimestamp": format_time(clock.now())}
        objects.put(kinds.SERVICE_ACCOUNTS, {"metadata": deleted})
        assert await tokens.verify(token, ())
        await clock.advance(62)
        with pytest.raises(Unauthorized, match="has been deleted"):
            await tokens.verify(token, ())
        objects.remove(kinds.SERVICE_ACCOUNTS, ACCOUNT)
        with pytest.raises(Unauthorized, match="not found"):
            await tokens.verify(token, ())

    async def test_time(self, signer, tokens, clock):
        early = self.token(signer, clock, now=clock.now() + 100)
        with pytest.raises(Unauthorized, match="not valid yet"):
            await tokens.verify(early, ())
        token = self.token(signer, clock)
        await clock.advance(3661)
        with pytest.raises(Unauthorized, match="has expired"):
            await tokens.verify(token, ())

    async def test_audience(self, signer, tokens, clock):
        with pytest.raises(Unauthorized, match="invalid for the target audiences"):
            await tokens.verify(self.token(signer, clock, audiences=["vault"]), (ISSUER,))

    async def test_forgeries(self, pki, signer, tokens, clock):
        good = self.token(signer, clock)
        head, body, signature = good.split(".")
        none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
        other = issuer.TokenIssuer(pki.key_path("sa2").read_bytes())
        for bad in (f"{head}.{body}.{signature[:-4]}AAAA", f"{none}.{body}.", self.token(other, clock)):
            with pytest.raises(Unauthorized, match=r"error in cryptographic primitive|no keys found"):
                await tokens.verify(bad, ())
        foreign = issuer.TokenIssuer(pki.key_path("sa").read_bytes(), "https://elsewhere")
        for unknown in ("x", "a.b.c", "", self.token(foreign, clock)):
            assert await tokens.verify(unknown, ()) is None

    async def test_a_verdict_is_kept_for_ten_seconds(self, signer, tokens, clock, objects):
        bearer = BearerTokens([tokens], (ISSUER,), clock)
        token = self.token(signer, clock, pod=POD)
        await bearer.verify(token, (ISSUER,))
        objects.remove(kinds.PODS, POD)
        assert (await bearer.verify(token, (ISSUER,))).user.name == "system:serviceaccount:ns:sa"
        await clock.advance(10)
        with pytest.raises(Unauthorized):
            await bearer.verify(token, (ISSUER,))

    async def test_a_bad_certificate_with_a_good_token(self, pki, certificates, signer, tokens, clock):
        chain = Chain([certificates, BearerTokens([tokens], (ISSUER,), clock)], clock)
        headers = {"authorization": f"Bearer {self.token(signer, clock)}"}
        assert (await chain.authenticate(request(headers, der(pki, "stranger")))).name == "system:serviceaccount:ns:sa"

    def test_documents(self, pki):
        keys = issuer.read_public_keys(pki.public_key_path("sa").read_bytes())
        assert issuer.jwks(keys)["keys"][0]["crv"] == "P-256"
        document = issuer.discovery_document(ISSUER, "https://x/openid/v1/jwks", keys)
        assert document["id_token_signing_alg_values_supported"] == ["ES256"]


class TestAuthorities:
    @pytest.fixture
    def file(self, pki, tmp_path):
        file = tmp_path / "ca.crt"
        file.write_bytes(pki.certificate_path("ca").read_bytes())
        return file

    @pytest.fixture
    async def certificates(self, file, clock):
        certificates = ClientCertificates(file.read_bytes, clock)
        certificates.check()
        following = asyncio.ensure_future(certificates.run())
        yield certificates
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    async def test_others_are_taken_up(self, pki, file, clock, certificates):
        await clock.advance(FOLLOW_S)
        assert certificates.identify(der(pki, "admin")).name == "admin"
        file.write_bytes(pki.certificate_path("other").read_bytes())
        await clock.advance(FOLLOW_S)
        assert certificates.identify(der(pki, "stranger")).name == "admin"
        with pytest.raises(Unauthorized, match="unknown authority"):
            certificates.identify(der(pki, "admin"))

    @pytest.mark.parametrize("bundle", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nMIIB", None])
    async def test_what_cannot_be_used_changes_nothing(self, pki, file, clock, certificates, bundle):
        if bundle is None:
            file.unlink()
        else:
            file.write_bytes(bundle)
        await clock.advance(3 * FOLLOW_S)
        assert certificates.identify(der(pki, "admin")).name == "admin"
        assert certificates.pem == pki.certificate_path("ca").read_bytes()


class Refusing:
    async def verify(self, token, audiences):
        raise Unauthorized("service account token has expired")


async def test_why_a_token_is_not_accepted(clock):
    for methods, why in (
        ([], "invalid bearer token"),
        ([Refusing(), Refusing()], "[invalid bearer token, service account token has expired]"),
    ):
        with pytest.raises(Unauthorized) as caught:
            await BearerTokens(methods, ("api",), clock).verify("x", ("api",))
        assert caught.value.message == why
