"""Certificate requests from their creation to the certificate."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pilothouse.api import gvr, status
from pilothouse.api.meta import format_time
from pilothouse.apiserver.admission.certificates import SigningRequestIdentity
from pilothouse.client.informer import InformerFactory
from pilothouse.controllers.certificates import signing
from pilothouse.controllers.certificates.controllers import (
    SigningRequestApprover,
    SigningRequestCleaner,
    SigningRequestSigner,
    is_over,
)
from pilothouse.controllers.runtime import Context, Options
from pilothouse.kit.clock import SystemClock
from pilothouse.kit.pki import Authority, Pki
from tests.apiserver.harness import Harness

NODE = signing.Asked("system:node:a", ("system:nodes",), frozenset())
CLIENT_USAGES = ("digital signature", "client auth")


def request(common_name: str, *organizations: str, names: tuple[x509.GeneralName, ...] = ()) -> bytes:
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM)


def signing_request(name: str, pem: bytes, signer: str = signing.CLIENT, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(pem).decode(),
            "signerName": signer,
            "usages": list(CLIENT_USAGES),
            **spec,
        },
    }


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    made = Pki(tmp_path_factory.mktemp("pki"), SystemClock())
    made.ensure([Authority("ca", "kubernetes")])
    return made


def signed(pki: Pki, pem: bytes, usages: tuple[str, ...] = CLIENT_USAGES, lifetime_s: float = 3600) -> x509.Certificate:
    authority, key = pki.certificate_path("ca").read_bytes(), pki.key_path("ca").read_bytes()
    return x509.load_pem_x509_certificate(signing.sign(pem, usages, lifetime_s, authority, key, SystemClock().now()))


def test_what_each_signer_refuses() -> None:
    def fault(signer: str, common_name: str, organizations: tuple[str, ...], kinds: set[str], *usages: str) -> str:
        return signing.fault(signer, signing.Asked(common_name, organizations, frozenset(kinds)), usages)

    nodes = ("system:nodes",)
    server = ("digital signature", "server auth")
    assert fault(signing.CLIENT, "a", (), set(), *CLIENT_USAGES) == ""
    assert fault(signing.CLIENT, "a", (), set(), "server auth") == "invalid usage for client certificate: server auth"
    text = "missing required usage for client certificate: client auth"
    assert fault(signing.CLIENT, "a", (), set(), "digital signature") == text
    assert fault(signing.KUBELET_CLIENT, "system:node:a", nodes, set(), *CLIENT_USAGES) == ""
    assert fault(signing.KUBELET_CLIENT, "system:node:a", nodes, set(), "key encipherment", *CLIENT_USAGES) == ""
    text = "subject organization is not system:nodes"
    assert fault(signing.KUBELET_CLIENT, "system:node:a", (), set(), *CLIENT_USAGES) == text
    text = "DNS subjectAltNames are not allowed"
    assert fault(signing.KUBELET_CLIENT, "system:node:a", nodes, {"dns", "ip"}, *CLIENT_USAGES) == text
    text = "subject common name does not begin with system:node:"
    assert fault(signing.KUBELET_CLIENT, "a", nodes, set(), *CLIENT_USAGES) == text
    text = "usages did not match [client auth digital signature key encipherment]"
    assert fault(signing.KUBELET_CLIENT, "system:node:a", nodes, set(), *server) == text
    assert fault(signing.KUBELET_SERVING, "system:node:a", nodes, {"ip"}, *server) == ""
    text = "DNS or IP subjectAltName is required"
    assert fault(signing.KUBELET_SERVING, "system:node:a", nodes, set(), *server) == text
    text = "URI subjectAltNames are not allowed"
    assert fault(signing.KUBELET_SERVING, "system:node:a", nodes, {"ip", "uri"}, *server) == text
    text = "usages did not match [digital signature key encipherment server auth]"
    assert fault(signing.KUBELET_SERVING, "a", nodes, {"ip"}, *CLIENT_USAGES) == text
    text = "subject common name does not begin with system:node:"
    assert fault(signing.KUBELET_CLIENT, "a", nodes, set(), *server) == text
    assert fault(signing.LEGACY, "anybody", (), {"email", "uri"}, "code signing") == ""


def test_a_certificate_says_what_was_asked_for(pki: Pki) -> None:
    names = (x509.DNSName("a"), x509.IPAddress(ipaddress.ip_address("10.0.0.1")))
    made = signed(pki, request("system:node:a", "system:nodes", names=names), ("digital signature", "server auth"))
    issuer = x509.load_pem_x509_certificate(pki.certificate_path("ca").read_bytes())
    made.verify_directly_issued_by(issuer)
    assert list(made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == list(names)
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not made.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment
    assert (made.not_valid_after_utc - made.not_valid_before_utc).total_seconds() == 3600 + 300
    long = signed(pki, request("a"), lifetime_s=86400)
    assert (long.not_valid_after_utc - long.not_valid_before_utc).total_seconds() == 86400
    assert signed(pki, request("a"), lifetime_s=1e9).not_valid_after_utc == issuer.not_valid_after_utc


def test_bad_requests_are_not_signed(pki: Pki) -> None:
    with pytest.raises(ValueError):
        signed(pki, b"nonsense")
    with pytest.raises(signing.Unsignable, match="unrecognized usage"):
        signed(pki, request("a"), ("flying",))
    assert signing.lifetime_s(None, 100) == 100
    assert signing.lifetime_s(1, 10000) == 600
    assert signing.lifetime_s(20000, 10000) == 10000


def test_when_a_request_is_over() -> None:
    def over(age_s: float, type: str = "", *, issued: str = "") -> bool:
        conditions = [{"type": type, "status": "True", "lastUpdateTime": format_time(0)}] if type else []
        obj = {
            "metadata": {"creationTimestamp": format_time(0)},
            "status": {"conditions": conditions, "certificate": issued},
        }
        return is_over(obj, age_s)

    assert [over(86000), over(86401)] == [False, True]
    assert [over(3599, "Denied"), over(3601, "Denied"), over(3601, "Failed")] == [False, True, True]
    assert [over(3601, "Approved"), over(86401, "Approved")] == [False, True]
    assert over(3601, "Approved", issued=base64.b64encode(b"x").decode())


class World:
    """An API server with the three controllers."""

    def __init__(self, pki: Pki) -> None:
        self.harness = Harness(admission=_Identity())
        self.client = self.harness.client
        options = Options(
            signing_files=dict.fromkeys(signing.SIGNERS, (str(pki.certificate_path("ca")), str(pki.key_path("ca"))))
        )
        self.informers = InformerFactory(self.client, self.harness.clock)
        context = Context(self.client, self.informers, self.harness.clock, self.harness.rng, options)
        self.approver = SigningRequestApprover(context)
        self.signer = SigningRequestSigner(context)
        self.cleaner = SigningRequestCleaner(context)

    async def settled(self) -> None:
        await self.harness.clock.advance(0, settle_turns=100)


class _Identity:
    def __init__(self) -> None:
        self._plugin = SigningRequestIdentity()

    async def mutate(self, attributes: Any) -> None:
        if attributes.resource.gvr == gvr.CERTIFICATE_SIGNING_REQUESTS and attributes.operation == "CREATE":
            await self._plugin.mutate(attributes)

    async def validate(self, attributes: Any) -> None:
        return None


@pytest.fixture
async def world(pki: Pki) -> AsyncIterator[World]:
    import asyncio

    world = World(pki)
    task = asyncio.ensure_future(world.informers.run())
    await world.settled()
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def approve(world: World, name: str, type: str = "Approved") -> Any:
    obj = await world.client.get(gvr.CERTIFICATE_SIGNING_REQUESTS, "", name)
    condition = {"type": type, "status": "True", "reason": "KubectlApprove", "message": "this CSR was approved"}
    obj["status"] = {"conditions": [condition]}
    return await world.client.update(gvr.CERTIFICATE_SIGNING_REQUESTS, obj, subresource="approval")


async def test_an_approved_request_is_signed(world: World, pki: Pki) -> None:
    await world.client.create(gvr.CERTIFICATE_SIGNING_REQUESTS, signing_request("a", request("alice", "devs")))
    await world.settled()
    assert await world.signer.reconcile("a") is None
    obj = await world.client.get(gvr.CERTIFICATE_SIGNING_REQUESTS, "", "a")
    assert obj["spec"]["username"] == "tester"
    assert "certificate" not in (obj.get("status") or {})
    approved = await approve(world, "a")
    (condition,) = approved["status"]["conditions"]
    assert condition["lastUpdateTime"] == condition["lastTransitionTime"]
    await world.settled()
    await world.signer.reconcile("a")
    obj = await world.client.get(gvr.CERTIFICATE_SIGNING_REQUESTS, "", "a")
    made = x509.load_pem_x509_certificate(base64.b64decode(obj["status"]["certificate"]))
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(pki.certificate_path("ca").read_bytes()))
    assert made.subject.rfc4514_string() == "CN=alice,O=devs"


async def test_a_request_that_the_signer_refuses_fails(world: World) -> None:
    obj = signing_request("a", request("alice"), usages=["server auth"])
    await world.client.create(gvr.CERTIFICATE_SIGNING_REQUESTS, obj)
    await approve(world, "a")
    await world.settled()
    await world.signer.reconcile("a")
    obj = await world.client.get(gvr.CERTIFICATE_SIGNING_REQUESTS, "", "a")
    failed = obj["status"]["conditions"][-1]
    assert (failed["type"], failed["reason"]) == ("Failed", "SignerValidationFailure")
    assert failed["message"] == "invalid usage for client certificate: server auth"


async def test_a_decision_is_final_and_status_cannot_make_it(world: World) -> None:
    await world.client.create(gvr.CERTIFICATE_SIGNING_REQUESTS, signing_request("a", request("alice")))
    await approve(world, "a", "Denied")
    with pytest.raises(status.Invalid, match='may not remove a condition of type "Denied"'):
        await approve(world, "a")
    obj = await world.client.get(gvr.CERTIFICATE_SIGNING_REQUESTS, "", "a")
    obj["status"]["conditions"] = []
    with pytest.raises(status.Invalid, match='may not remove a condition of type "Denied"'):
        await world.client.update_status(gvr.CERTIFICATE_SIGNING_REQUESTS, obj)
    obj = await world.client.get(gvr.CERTIFICATE_SIGNING_REQUESTS, "", "a")
    assert [each["type"] for each in obj["status"]["conditions"]] == ["Denied"]
    await world.harness.clock.advance(3601)
    await world.settled()
    await world.cleaner.reconcile("a")
    with pytest.raises(status.NotFound):
        await world.client.get(gvr.CERTIFICATE_SIGNING_REQUESTS, "", "a")


async def test_others_are_left_to_people(world: World, tmp_path: Path) -> None:
    await world.client.create(gvr.CERTIFICATE_SIGNING_REQUESTS, signing_request("a", request("alice")))
    await world.settled()
    assert await world.approver.reconcile("a") is None
    assert await world.approver.reconcile("gone") is None
    obj = await world.client.get(gvr.CERTIFICATE_SIGNING_REQUESTS, "", "a")
    assert not (obj.get("status") or {}).get("conditions")
