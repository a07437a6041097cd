"""What a signer asks of a request, and the certificate that it makes.

Source: `pkg/controller/certificates/{signer,authority}`, `pkg/apis/certificates/helpers.go`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography import x509

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY = "kubernetes.io/legacy-unknown"
"""Of requests that were made when there was no other; it signs whatever was approved."""
SIGNERS = (CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY)

BACKDATE_S = 300.0
SHORT_S = 8 * 3600.0
"""A certificate that lives shorter keeps its end when its beginning is moved back."""
MIN_LIFETIME_S = 600.0

_CLIENT_USAGES = frozenset({"digital signature", "key encipherment", "client auth"})
_SERVER_USAGES = frozenset({"digital signature", "key encipherment", "server auth"})
_RSA_ONLY = frozenset({"key encipherment"})
_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED_USAGES = {
    "any": "2.5.29.37.0",
    "server auth": "1.3.6.1.5.5.7.3.1",
    "client auth": "1.3.6.1.5.5.7.3.2",
    "code signing": "1.3.6.1.5.5.7.3.3",
    "email protection": "1.3.6.1.5.5.7.3.4",
    "s/mime": "1.3.6.1.5.5.7.3.4",
    "ipsec end system": "1.3.6.1.5.5.7.3.5",
    "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp signing": "1.3.6.1.5.5.7.3.9",
    "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
    "netscape sgc": "2.16.840.1.113730.4.1",
}


class Unsignable(Exception):
    """The authority cannot make the certificate; the text says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request in PEM asks for."""

    common_name: str
    organizations: tuple[str, ...]
    kinds: frozenset[str]
    """Of its alternative names: `dns`, `ip`, `email`, `uri`."""


def parse(pem: bytes) -> Asked:
    """Raises ValueError."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    request = x509.load_pem_x509_csr(pem)
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    organizations = request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    kinds = {x509.DNSName: "dns", x509.IPAddress: "ip", x509.RFC822Name: "email"}
    return Asked(
        str(names[-1].value) if names else "",
        tuple(str(each.value) for each in organizations),
        frozenset(kinds.get(type(name), "uri") for name in _alternative_names(request)),
    )


def fault(signer: str, asked: Asked, usages: Collection[str]) -> str:
    """Why a signer refuses a request; empty if it does not."""
    if signer == LEGACY:
        return ""
    if signer == CLIENT:
        for usage in usages:
            if usage not in _CLIENT_USAGES:
                return f"invalid usage for client certificate: {usage}"
        return "" if "client auth" in usages else "missing required usage for client certificate: client auth"
    if asked.organizations != ("system:nodes",):
        return "subject organization is not system:nodes"
    if problem := _names_fault(signer, asked.kinds):
        return problem
    needed = _CLIENT_USAGES if signer == KUBELET_CLIENT else _SERVER_USAGES
    faults = []
    if frozenset(usages) not in (needed, needed - _RSA_ONLY):
        faults.append(f"usages did not match [{' '.join(sorted(needed))}]")
    if not asked.common_name.startswith("system:node:"):
        faults.append("subject common name does not begin with system:node:")
    # Upstream looks at them in this order for one signer and in the other for the other.
    return (faults[-1] if signer == KUBELET_CLIENT else faults[0]) if faults else ""


def _names_fault(signer: str, kinds: Collection[str]) -> str:
    if signer == KUBELET_SERVING and not {"dns", "ip"} & set(kinds):
        return "DNS or IP subjectAltName is required"
    forbidden = ("email", "uri") if signer == KUBELET_SERVING else ("dns", "email", "ip", "uri")
    words = {"dns": "DNS", "email": "Email", "ip": "IP", "uri": "URI"}
    return next((f"{words[kind]} subjectAltNames are not allowed" for kind in forbidden if kind in kinds), "")


def sign(request: bytes, usages: Sequence[str], lifetime_s: float, authority: bytes, key: bytes, now: float) -> bytes:
    """The certificate for a request; all arguments and the result are PEM. Raises Unsignable, ValueError."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ed448, ed25519

    wanted = x509.load_pem_x509_csr(request)
    if not wanted.is_signature_valid:
        raise Unsignable("unable to verify certificate request signature")
    issuer = x509.load_pem_x509_certificates(authority)[0]
    issuer_key: Any = serialization.load_pem_private_key(key, password=None)
    start, end = _lifetime(now, lifetime_s, issuer.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(wanted.subject)
        .issuer_name(issuer.subject)
        .public_key(wanted.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    builder = _with_usages(builder, usages)
    try:
        known = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)
    except x509.ExtensionNotFound:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    if names := _alternative_names(wanted):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    has_own_hash = isinstance(issuer_key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    signed = builder.sign(issuer_key, None if has_own_hash else hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def lifetime_s(asked_s: int | None, limit_s: float) -> float:
    """How long a certificate lives: as long as is asked, within what the signer gives."""
    return limit_s if asked_s is None else min(limit_s, max(MIN_LIFETIME_S, float(asked_s)))


def _lifetime(now: float, lifetime: float, issuer_end: datetime) -> tuple[datetime, datetime]:
    present = datetime.fromtimestamp(int(now), UTC)
    start = present - timedelta(seconds=BACKDATE_S)
    end = min(issuer_end, (present if lifetime < SHORT_S else start) + timedelta(seconds=lifetime))
    if present >= issuer_end:
        raise Unsignable(f"refusing to sign a certificate that expired in the past: NotAfter={issuer_end}")
    return start, end


def _with_usages(builder: x509.CertificateBuilder, usages: Sequence[str]) -> x509.CertificateBuilder:
    from cryptography import x509

    unknown = [usage for usage in usages if usage not in _KEY_USAGES and usage not in _EXTENDED_USAGES]
    if unknown:
        raise Unsignable(f"unrecognized usage values: {unknown}")
    chosen = {_KEY_USAGES[usage] for usage in usages if usage in _KEY_USAGES}
    if chosen:
        flags = {name: name in chosen for name in dict.fromkeys(_KEY_USAGES.values())}
        builder = builder.add_extension(x509.KeyUsage(**flags), critical=True)
    extended = sorted({_EXTENDED_USAGES[usage] for usage in usages if usage in _EXTENDED_USAGES})
    if extended:
        identifiers = [x509.ObjectIdentifier(text) for text in extended]
        builder = builder.add_extension(x509.ExtendedKeyUsage(identifiers), critical=False)
    return builder


def _alternative_names(request: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    from cryptography import x509

    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    wanted = (x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier)
    return [name for name in names if isinstance(name, wanted)]
