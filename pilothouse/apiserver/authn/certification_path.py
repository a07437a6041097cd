"""The way from a client's certificate to an authority, by certificates in between that the client sent along.

Source: RFC 5280 section 6, Go's `crypto/x509`, which upstream gives what a client sends as intermediates. Constraints on names, which
Go knows, are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from pilothouse.kit import certificate

MAX_LENGTH = 8
"""How many certificates may stand between; nobody has more than two."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate that may sign others, if `is_authority` says so."""

    facts: certificate.Facts
    parsed: x509.Certificate

    def has_signed(self, issued: x509.Certificate, below: int) -> bool:
        """Whether it has, and may have: for clients, with `below` other authorities between it and the client's."""
        usages = self.facts.usages
        if not self.facts.is_authority or (usages is not None and not usages & {"client", "any"}):
            return False
        try:
            issued.verify_directly_issued_by(self.parsed)
            length, constrains_names = _limits(self.parsed)
        except (InvalidSignature, ValueError, TypeError):
            return False
        return not constrains_names and (length is None or length >= below)


Authorities = Mapping[bytes, Sequence[Signer]]
"""By their names in DER."""


def signer(der: bytes) -> Signer:
    """Raises ValueError."""
    return Signer(certificate.read(der), x509.load_der_x509_certificate(der))


def by_name(ders: Sequence[bytes]) -> Authorities:
    """The authorities among certificates. Raises ValueError."""
    found: dict[bytes, list[Signer]] = {}
    for each in map(signer, ders):
        if each.facts.is_authority:
            found.setdefault(each.facts.subject, []).append(each)
    return found


def path(
    issued: Signer, authorities: Authorities, between: Authorities, below: int = 0
) -> tuple[certificate.Facts, ...] | None:
    """Who signed `issued`, who signed that one, and so on to one of `authorities`; None if it leads to none of them."""
    for authority in authorities.get(issued.facts.issuer, ()):
        if authority.has_signed(issued.parsed, below):
            return (authority.facts,)
    if below == MAX_LENGTH:
        return None
    for each in between.get(issued.facts.issuer, ()):
        if each.facts.subject != each.facts.issuer and each.has_signed(issued.parsed, below):
            rest = path(each, authorities, between, below + 1)
            if rest is not None:
                return (each.facts, *rest)
    return None


def _limits(parsed: x509.Certificate) -> tuple[int | None, bool]:
    """How many authorities may follow, and whether what may be signed is limited to some names. Raises ValueError."""
    length, constrains_names = None, False
    for extension in parsed.extensions:
        if isinstance(extension.value, x509.BasicConstraints):
            length = extension.value.path_length
        constrains_names |= isinstance(extension.value, x509.NameConstraints)
    return length, constrains_names
