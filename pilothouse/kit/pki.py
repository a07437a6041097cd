"""A directory of certificate authorities, certificates and signing keys, kept complete and fresh.

The caller says which files there must be; `Pki.ensure` makes those that are missing, about to expire, no longer signed by the
authority that is there, or that name something else than asked. What is good is left alone, and then `cryptography` is not even
imported. Files are replaced atomically; private keys have mode 0600, all else 0644.

An authority that is renewed keeps its key, so what it signed before stays valid.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.kit import certificate
from pilothouse.kit.clock import Clock

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

DAY_S = 86_400
AUTHORITY_LIFETIME_S = 3650 * DAY_S
CERTIFICATE_LIFETIME_S = 365 * DAY_S
RENEW_AT = 0.8
"""The part of a certificate's life after which it is renewed."""
BACKDATE_S = 300
"""How far before its making a certificate becomes valid, for machines whose clocks disagree."""


class PkiError(Exception):
    """A file is unusable; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A self-signed authority in `<name>.crt` and `<name>.key`."""

    name: str
    common_name: str
    lifetime_s: float = AUTHORITY_LIFETIME_S


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate in `<name>.crt` and `<name>.key`, signed by the authority of that name. `usages`: `server`, `client`."""

    name: str
    common_name: str
    authority: str = "ca"
    organizations: tuple[str, ...] = ()
    usages: tuple[str, ...] = ("client",)
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    lifetime_s: float = CERTIFICATE_LIFETIME_S


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An EC P-256 key in `<name>.key` with its public half in `<name>.pub`; it is never renewed."""

    name: str


Item = Authority | Certificate | SigningKey


class Pki:
    """The directory. Not for concurrent use within a process; processes exclude one another by a lock file."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.directory = directory
        self._clock = clock

    def certificate_path(self, name: str) -> Path:
        return self.directory / f"{name}.crt"

    def key_path(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    def public_key_path(self, name: str) -> Path:
        return self.directory / f"{name}.pub"

    def ensure(self, items: Sequence[Item]) -> list[str]:
        """Make every item good and return the names of those that were written. Authorities stand before what they sign.

        Raises PkiError if a file cannot be used and must not be replaced, such as an authority without its key.
        """
        if all(self._is_good(item) for item in items):
            return []
        self.directory.mkdir(parents=True, exist_ok=True)
        written = []
        with self._lock():
            for item in items:
                if not self._is_good(item):
                    self._make(item)
                    written.append(item.name)
        return written

    def next_renewal(self, items: Sequence[Item]) -> float:
        """When `ensure` will have something to renew, in seconds since the epoch; infinity without certificates."""
        times = [
            _renewal_time(self._facts(item.name), item.lifetime_s) for item in items if not isinstance(item, SigningKey)
        ]
        return min(times, default=float("inf"))

    def _is_good(self, item: Item) -> bool:
        if isinstance(item, SigningKey):
            return self.key_path(item.name).exists() and self.public_key_path(item.name).exists()
        if not (self.certificate_path(item.name).exists() and self.key_path(item.name).exists()):
            return False
        facts = self._facts(item.name)
        if not self._is_key_of(facts, item.name):
            return False
        if isinstance(item, Authority):
            return self._clock.now() < _renewal_time(facts, item.lifetime_s)
        return (
            self._clock.now() < _renewal_time(facts, item.lifetime_s)
            and _says(facts, item)
            and self._is_signed_by(facts, item.authority)
        )

    def _is_key_of(self, facts: certificate.Facts, name: str) -> bool:
        """Whether the key belongs to the certificate, which a crash between writing the two can prevent.

        Only keys as this module writes them, which contain their public point, can be told apart without a cryptographic library.
        """
        try:
            blocks = certificate.pem_blocks(self.key_path(name).read_bytes(), "PRIVATE KEY")
        except ValueError as error:
            raise PkiError(f"{self.key_path(name)} is not a private key ({error}); put the right file back") from error
        return len(facts.public_key) != 65 or not blocks or facts.public_key in blocks[0]

    def _is_signed_by(self, facts: certificate.Facts, authority: str) -> bool:
        if not self.certificate_path(authority).exists():
            return False
        issuer = self._facts(authority)
        return issuer.subject == facts.issuer and issuer.subject_key_id == facts.authority_key_id

    def _facts(self, name: str) -> certificate.Facts:
        path = self.certificate_path(name)
        try:
            return certificate.read(certificate.pem_blocks(path.read_bytes())[0])
        except (ValueError, IndexError) as error:
            raise PkiError(f"{path} is not a certificate ({error}); put the right file back, or remove it") from error

    def _make(self, item: Item) -> None:
        if isinstance(item, SigningKey):
            self._make_signing_key(item)
        elif isinstance(item, Authority):
            self._make_authority(item)
        else:
            self._make_certificate(item)

    def _make_signing_key(self, item: SigningKey) -> None:
        key = self._load_key(item.name) if self.key_path(item.name).exists() else self._new_key(item.name)
        _write(self.public_key_path(item.name), _public_pem(key), 0o644)

    def _make_authority(self, item: Authority) -> None:
        has_key, has_certificate = self.key_path(item.name).exists(), self.certificate_path(item.name).exists()
        if has_certificate and not has_key:
            raise PkiError(
                f"{self.certificate_path(item.name)} is there without {self.key_path(item.name)}: "
                "put the key back, or remove the certificate to start with a new authority"
            )
        key = self._load_key(item.name) if has_key else self._new_key(item.name)
        builder = _builder(item.common_name, (), None, self._clock.now(), item.lifetime_s)
        self._write_certificate(item.name, _sign_authority(builder, key))

    def _make_certificate(self, item: Certificate) -> None:
        issuer_key = self._load_key(item.authority)
        issuer = self._load_certificate(item.authority)
        key = self._new_key(item.name)
        builder = _builder(item.common_name, item.organizations, issuer.subject, self._clock.now(), item.lifetime_s)
        self._write_certificate(item.name, _sign_certificate(builder, item, key, issuer, issuer_key))

    def _new_key(self, name: str) -> EllipticCurvePrivateKey:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write(self.key_path(name), pem, 0o600)
        return key

    def _load_key(self, name: str) -> EllipticCurvePrivateKey:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        path = self.key_path(name)
        try:
            return load_pem_private_key(path.read_bytes(), None)  # type: ignore[return-value]
        except FileNotFoundError as error:
            raise PkiError(f"{path} is missing, and without it nothing can be signed; put it back") from error
        except (ValueError, TypeError) as error:
            raise PkiError(f"{path} is not a usable private key ({error}); put the right file back") from error

    def _load_certificate(self, name: str) -> x509.Certificate:
        from cryptography.x509 import load_pem_x509_certificate

        return load_pem_x509_certificate(self.certificate_path(name).read_bytes())

    def _write_certificate(self, name: str, made: x509.Certificate) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding

        _write(self.certificate_path(name), made.public_bytes(Encoding.PEM), 0o644)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.directory / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _renewal_time(facts: certificate.Facts, lifetime_s: float) -> float:
    return facts.not_after - min(lifetime_s, facts.not_after - facts.not_before) * (1 - RENEW_AT)


def _says(facts: certificate.Facts, item: Certificate) -> bool:
    """Whether a certificate names what is asked for; further names do no harm."""
    return (
        facts.common_name == item.common_name
        and facts.organizations == item.organizations
        and facts.dns_names.issuperset(item.dns_names)
        and facts.ip_addresses.issuperset(str(ipaddress.ip_address(address)) for address in item.ip_addresses)
        and facts.usages == frozenset(item.usages)
    )


def _builder(
    common_name: str, organizations: Sequence[str], issuer: x509.Name | None, now: float, lifetime_s: float
) -> x509.CertificateBuilder:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
    subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    start = datetime.fromtimestamp(now - BACKDATE_S, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(seconds=lifetime_s + BACKDATE_S))
    )


def _sign_authority(builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    return (
        builder.public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _sign_certificate(
    builder: x509.CertificateBuilder,
    item: Certificate,
    key: EllipticCurvePrivateKey,
    issuer: x509.Certificate,
    issuer_key: EllipticCurvePrivateKey,
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    oids = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        builder.public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([oids[usage] for usage in item.usages]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
    )
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in item.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in item.ip_addresses]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _public_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace a file so that a reader, or a power cut, sees the old content or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
