"""CertificateSigningRequests. Source: `pkg/apis/certificates/validation`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from pilothouse.api.path import FieldError, Path, duplicate, field_forbidden, invalid, not_supported, required
from pilothouse.api.validate.difference import difference
from pilothouse.api.validate.signer import check_signer_name
from pilothouse.api.validate.values import Errors, Part

_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only",
    "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement",
    "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping",
)  # fmt: skip
_DECISIONS = ("Approved", "Denied")
_LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
_find_blocks = re.compile(rb"-----BEGIN ([^-\n]+)-----(.*?)-----END \1-----", re.DOTALL).findall
_SPEC = Path("spec")
_CONDITIONS = Path("status.conditions")


def validate_signing_request(request: Part) -> list[FieldError]:
    return _faults(request, None)


def _faults(request: Part, old: Part | None) -> list[FieldError]:
    """What is wrong with a request. What was wrong with the `old` one already may stay so."""
    errors: Errors = []
    spec, before = request.get("spec") or {}, (old or {}).get("spec") or {}
    if problem := _request_fault(spec.get("request", "")):
        errors.append(invalid(_SPEC.child("request"), spec.get("request", ""), problem))
    usages, signer = spec.get("usages") or (), spec.get("signerName", "")
    had: Sequence[str] = before.get("usages") or ()
    if not usages:
        errors.append(required(_SPEC.child("usages")))
    for i, usage in enumerate(usages):
        if usage not in _USAGES and all(each in _USAGES for each in had):
            errors.append(not_supported(_SPEC.child("usages").index(i), usage, _USAGES))
        if usage in usages[:i] and len(set(had)) == len(had):
            errors.append(duplicate(_SPEC.child("usages").index(i), usage))
    if signer == _LEGACY_SIGNER and before.get("signerName") != _LEGACY_SIGNER:
        text = "the legacy signerName is not allowed via this API version"
        errors.append(invalid(_SPEC.child("signerName"), signer, text))
    else:
        check_signer_name(signer, _SPEC.child("signerName"), errors)
    expiration = spec.get("expirationSeconds")
    if expiration is not None and expiration < 600:
        text = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(invalid(_SPEC.child("expirationSeconds"), expiration, text))
    _check_conditions(request, old, errors)
    certificate, had_certificate = ((each.get("status") or {}).get("certificate") for each in (request, old or {}))
    may_be_anything = certificate == had_certificate or bool(had_certificate and _certificate_fault(had_certificate))
    if certificate and not may_be_anything and (problem := _certificate_fault(certificate)):
        errors.append(invalid(Path("status.certificate"), "<certificate data>", problem))
    return errors


def _request_fault(text: str) -> str:
    """Why the base64 of a PEM block is no signed certificate request; empty if it is one."""
    from cryptography import x509

    try:
        pem = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        return str(error)
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem:
        return "PEM block type must be CERTIFICATE REQUEST"
    try:
        parsed = x509.load_pem_x509_csr(pem)
        return "" if parsed.is_signature_valid else "x509: the signature of the request is not valid"
    except ValueError as error:
        return str(error)


def _certificate_fault(text: str) -> str:
    """Why the base64 of some PEM is no certificate; empty if it is one or several."""
    from cryptography import x509

    try:
        blocks = _find_blocks(base64.b64decode(text))
    except (ValueError, binascii.Error) as error:
        return str(error)
    for kind, body in blocks:
        if kind != b"CERTIFICATE":
            return f'only CERTIFICATE PEM blocks are allowed, found "{kind.decode(errors="replace")}"'
        if b":" in body:
            return "no PEM block headers are permitted"
        try:
            x509.load_der_x509_certificate(base64.b64decode(body))
        except (ValueError, binascii.Error) as error:
            return str(error)
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"


def _check_conditions(request: Part, old: Part | None, errors: Errors) -> None:
    had = [each.get("type", "") for each in ((old or {}).get("status") or {}).get("conditions") or ()]
    may_be_both, may_be_empty = set(_DECISIONS) <= set(had), "" in had
    may_be_doubled = len(set(had)) < len(had)
    seen: list[str] = []
    for i, condition in enumerate((request.get("status") or {}).get("conditions") or ()):
        here, kind, status = _CONDITIONS.index(i), condition.get("type", ""), condition.get("status", "")
        allowed = ("True",) if kind in (*_DECISIONS, "Failed") else ("False", "True", "Unknown")
        if not kind and not may_be_empty:
            errors.append(required(here.child("type")))
        if not status:
            errors.append(required(here.child("status")))
        elif status not in allowed:
            errors.append(not_supported(here.child("status"), status, allowed))
        if kind in _DECISIONS and not may_be_both and any(other in seen for other in _DECISIONS if other != kind):
            text = "Approved and Denied conditions are mutually exclusive"
            errors.append(invalid(_CONDITIONS, kind, text))
        if kind in seen and not may_be_doubled:
            errors.append(duplicate(here.child("type"), kind))
        seen.append(kind)


def validate_signing_request_update(new: Part, old: Part) -> list[FieldError]:
    return [*_faults(new, old), *_update_faults(new, old)]


def validate_signing_request_status_update(new: Part, old: Part) -> list[FieldError]:
    """The subresource `status`, through which the signer gives the certificate."""
    return [*_faults(new, old), *_update_faults(new, old, may_sign=True)]


def validate_signing_request_approval(new: Part, old: Part) -> list[FieldError]:
    """The subresource `approval`, through which a request is approved or denied."""
    return [*_faults(new, old), *_update_faults(new, old, may_decide=True)]


def _update_faults(new: Part, old: Part, *, may_sign: bool = False, may_decide: bool = False) -> list[FieldError]:
    errors: Errors = []
    for kind in (*_DECISIONS, "Failed"):
        now, then = (_conditions(each, kind) for each in (new, old))
        if len(now) < len(then):
            text = f'updates may not remove a condition of type "{kind}"'
        elif may_decide or kind == "Failed" or now == then:
            continue
        elif len(now) > len(then):
            text = f'updates may not add a condition of type "{kind}"'
        else:
            text = f'updates may not modify a condition of type "{kind}"\n{difference(then, now)}'
        errors.append(field_forbidden(_CONDITIONS, text))
    signed, was = ((each.get("status") or {}).get("certificate", "") for each in (new, old))
    if signed != was:
        if not may_sign:
            errors.append(field_forbidden(Path("status.certificate"), "updates may not set certificate content"))
        elif was:
            text = "updates may not modify existing certificate content"
            errors.append(field_forbidden(Path("status.certificate"), text))
    return errors


def _conditions(request: Part, kind: str) -> list[Part]:
    return [each for each in (request.get("status") or {}).get("conditions") or () if each.get("type") == kind]
