"""Client certificates: the common name is the user, the organizations are the groups.

TLS asks for a certificate and does not judge it, so that a bad one is answered by 401 and not by a broken connection; the judging is
done here, once for each certificate. Source: apiserver `pkg/authentication/request/x509`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pilothouse.api.status import Unauthorized
from pilothouse.api.user import User, authenticated
from pilothouse.kit import certificate
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.message import Request
from pilothouse.kit.log import get_logger
from pilothouse.kit.metrics import Family, Histogram

if TYPE_CHECKING:
    from pilothouse.apiserver.authn.certification_path import Authorities

_MAX_KNOWN = 4096
_HOUR_S, _DAY_S = 3600, 86400
_LIFETIMES_S = (
    0,
    _HOUR_S // 2,
    *(hours * _HOUR_S for hours in (1, 2, 6, 12)),
    *(d * _DAY_S for d in (1, 2, 4, 7, 30, 90, 180, 360)),
)
_UID_OID = "1.3.6.1.4.1.57683.2"
FOLLOW_S = 5.0
"""How often the authorities are looked at."""
log = get_logger("pilothouse.apiserver.authn")
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


class ClientCertificates:
    """Accepts certificates signed by one of the authorities in a PEM bundle, for client use, within their time."""

    def __init__(self, bundle: Callable[[], bytes], clock: Clock) -> None:
        """`bundle` gives the authorities in PEM; it is asked when the first certificate comes, and then from time to time."""
        self._bundle = bundle
        self._pem = self._tried = b""
        self._clock = clock
        self._authorities: Authorities | None = None
        self._known: dict[bytes | tuple[bytes, ...], tuple[User | None, float, float, float]] = {}
        self.lifetimes = Histogram(_LIFETIMES_S)
        """How long certificates would still have been good that requests came with, whether or not they are accepted."""

    def check(self) -> None:
        """Look at the authorities without loading a cryptographic library. Raises ValueError if there is none, OSError."""
        pem = self._tried = self._bundle()
        if not any(certificate.read(der).is_authority for der in certificate.pem_blocks(pem)):
            raise ValueError("there is no certificate of an authority in the bundle")
        self._pem = pem

    @property
    def pem(self) -> bytes:
        """The authorities that are believed."""
        if not self._pem:
            self._pem = self._tried = self._bundle()
        return self._pem

    async def run(self) -> None:
        """Take up other authorities when the bundle changes, until cancelled. One that cannot be used changes nothing."""
        while True:
            await self._clock.sleep(FOLLOW_S)
            before, tried = self._pem, self._tried
            try:
                self.check()
            except (OSError, ValueError) as error:
                if self._tried != tried:
                    log.error("authorities of certificates are not taken up", reason=str(error))
                continue
            if self._pem != before:
                self._authorities = None
                self._known.clear()
                log.info("authorities of certificates are taken up")

    async def authenticate(self, request: Request) -> User | None:
        der = request.peer.certificate
        return None if der is None else self.identify(der, request.peer.chain)

    def identify(self, der: bytes, chain: tuple[bytes, ...] = ()) -> User | None:
        """The user that a certificate names, with which `chain` was sent; None if it names none.

        Raises Unauthorized, whose message says what is wrong with it.
        """
        key = (der, *chain) if chain else der
        known = self._known.get(key)
        if known is None:
            known = self._judge(der, chain)
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[key] = known
        user, not_before, not_after, ends = known
        now = self._clock.now()
        self.lifetimes.observe(ends - now)
        if not not_before <= now <= not_after:
            raise Unauthorized("x509: certificate has expired or is not yet valid")
        return user

    def families(self) -> Iterable[Family]:
        """For `/metrics`."""
        family = Family(
            "apiserver_client_certificate_expiration_seconds",
            "histogram",
            "[ALPHA] Distribution of the remaining lifetime on the certificate used to authenticate a request.",
        )
        self.lifetimes.add_to(family)
        yield family

    def _judge(self, der: bytes, chain: tuple[bytes, ...]) -> tuple[User | None, float, float, float]:
        """Whom a certificate names, from when until when that is believed, and when the certificate itself ends."""
        try:
            facts = certificate.read(der)
        except ValueError as error:
            raise Unauthorized(f"x509: {error}") from error
        try:
            return *self._verify(der, facts, chain), facts.not_after
        except Unauthorized:
            self.lifetimes.observe(facts.not_after - self._clock.now())
            raise

    def _verify(
        self, der: bytes, facts: certificate.Facts, chain: tuple[bytes, ...]
    ) -> tuple[User | None, float, float]:
        signers = self._signers(der, chain)
        if signers is None:
            raise Unauthorized("x509: certificate signed by unknown authority")
        if facts.usages is not None and not facts.usages & {"client", "any"}:
            raise Unauthorized("x509: certificate specifies an incompatible key usage")
        if not facts.common_name:
            return None, facts.not_before, facts.not_after
        extra = {CREDENTIAL_ID: (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)}
        user = authenticated(User(facts.common_name, _uid(der), facts.organizations, extra))
        whole = (facts, *signers)
        return user, max(each.not_before for each in whole), min(each.not_after for each in whole)

    def _signers(self, der: bytes, chain: tuple[bytes, ...]) -> tuple[certificate.Facts, ...] | None:
        """Who signed a certificate, up to an authority that is believed; None if there is no way to one."""
        from pilothouse.apiserver.authn import certification_path

        if self._authorities is None:
            self._authorities = certification_path.by_name(certificate.pem_blocks(self.pem))
        try:
            candidate = certification_path.signer(der)
            between = certification_path.by_name(chain[: certification_path.MAX_LENGTH])
        except ValueError:
            return None
        return certification_path.path(candidate, self._authorities, between)


def _uid(der: bytes) -> str:
    """The user's uid, an element of the subject. Raises Unauthorized if it stands there twice, or empty."""
    from cryptography import x509

    subject = x509.load_der_x509_certificate(der).subject
    uids = [str(each.value) for each in subject if each.oid.dotted_string == _UID_OID]
    if len(uids) > 1:
        raise Unauthorized(f"expected 1 UID, but found multiple: [{' '.join(uids)}]")
    if uids == [""]:
        raise Unauthorized("UID cannot be an empty string")
    return uids[0] if uids else ""
