from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pilothouse.api.validate.certificate import (
    validate_signing_request,
    validate_signing_request_approval,
    validate_signing_request_status_update,
    validate_signing_request_update,
)
from tests.api.validate.loaded import changed, loaded, texts

APPROVED = [{"type": "Approved", "status": "True", "reason": "R"}]


@pytest.fixture(scope="module")
def request_object() -> dict[str, Any]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    signed = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    pem = base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": pem, "signerName": "example.com/s", "usages": ["client auth"]}
    return loaded(
        {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": "a"},
            "spec": spec,
        }
    )


@pytest.mark.parametrize(
    ("path", "value", "start"),
    [
        ("spec.request", "YQ==", 'spec.request: Invalid value: "YQ==": PEM block type must be CERTIFICATE REQUEST'),
        ("spec.request", "?", 'spec.request: Invalid value: "?"'),
        ("spec.usages", [], "spec.usages: Required value"),
        ("spec.usages", ["magic"], 'spec.usages[0]: Unsupported value: "magic"'),
        (
            "spec.signerName",
            "plain",
            'spec.signerName: Invalid value: "plain": must be a fully qualified domain and path',
        ),
        (
            "spec.expirationSeconds",
            10,
            "spec.expirationSeconds: Invalid value: 10: may not specify a duration less than 600",
        ),
        (
            "status.conditions",
            [{"type": "Approved", "status": "False"}],
            "status.conditions[0].status: Unsupported value",
        ),
    ],
)
def test_faults(request_object: dict[str, Any], path: str, value: Any, start: str) -> None:
    found = texts(validate_signing_request(changed(request_object, path, value)))
    assert len(found) == 1
    assert found[0].startswith(start)


def test_who_may_change_what(request_object: dict[str, Any]) -> None:
    assert validate_signing_request(request_object) == []
    approved = changed(request_object, "status.conditions", APPROVED)
    assert validate_signing_request_approval(approved, request_object) == []
    assert texts(validate_signing_request_update(approved, request_object)) == [
        'status.conditions: Forbidden: updates may not add a condition of type "Approved"'
    ]
    assert texts(validate_signing_request_approval(request_object, approved)) == [
        'status.conditions: Forbidden: updates may not remove a condition of type "Approved"'
    ]
    signed = changed(approved, "status.certificate", "YQ==")
    assert texts(validate_signing_request_status_update(signed, approved)) != []
    assert "status.certificate: Forbidden: updates may not set certificate content" in texts(
        validate_signing_request_update(signed, approved)
    )


def test_what_was_wrong_already_may_stay(request_object: dict[str, Any]) -> None:
    old = changed(request_object, "spec.signerName", "kubernetes.io/legacy-unknown")
    assert texts(validate_signing_request_approval(old, request_object)) == [
        'spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version'
    ]
    assert validate_signing_request_approval(old, old) == []
    old = changed(request_object, "spec.usages", ["magic", "magic"])
    assert validate_signing_request_status_update(old, old) == []
    doubled = [{"type": "", "status": "True"}, *APPROVED, *APPROVED, {"type": "Denied", "status": "True"}]
    old = changed(request_object, "status", {"conditions": doubled})
    assert validate_signing_request_update(old, old) == []


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"nothing", "must contain at least one CERTIFICATE PEM block"),
        (b"-----BEGIN X-----\nYQ==\n-----END X-----\n", 'only CERTIFICATE PEM blocks are allowed, found "X"'),
        (
            b"-----BEGIN CERTIFICATE-----\na: b\n\nYQ==\n-----END CERTIFICATE-----\n",
            "no PEM block headers are permitted",
        ),
        (b"-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n", ""),
    ],
)
def test_certificates_that_are_none(request_object: dict[str, Any], pem: bytes, message: str) -> None:
    signed = changed(request_object, "status", {"certificate": base64.b64encode(pem).decode()})
    (error,) = texts(validate_signing_request_status_update(signed, request_object))
    assert error.startswith(f'status.certificate: Invalid value: "<certificate data>": {message}')
