"""CertificateSigningRequests: who asks is written down, and who approves or signs needs a right to the signer.

`SigningRequestIdentity` is part of creating a request and no flag turns it off. Source: `plugin/pkg/admission/certificates`,
`pkg/registry/certificates/certificates/strategy.go`, `pkg/apis/certificates/authorization`.
"""

from __future__ import annotations

import base64
import binascii

from pilothouse.api.identities import SYSTEM_MASTERS
from pilothouse.api.user import User
from pilothouse.apiserver.admission.plugin import WHOLE_OBJECTS, Plugin, forbidden
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.authz.attributes import Attributes as Question
from pilothouse.apiserver.authz.attributes import Authorizer

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_GROUP = "certificates.k8s.io"
_REQUESTS = frozenset({f"certificatesigningrequests.{_GROUP}"})
_IDENTITY = ("username", "uid", "groups", "extra")


class SigningRequestIdentity(Plugin):
    """A request says who made it, whatever the client wrote there."""

    name = "SigningRequestIdentity"
    operations = frozenset({"CREATE"})
    resources = _REQUESTS
    subresources = WHOLE_OBJECTS

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.obj is None:
            return
        spec = attributes.obj.setdefault("spec", {})
        for field in _IDENTITY:
            spec.pop(field, None)
        spec.update(attributes.user.to_object())


class CertificateSubjectRestriction(Plugin):
    """Nobody gets a certificate of the group system:masters from the signer of API clients."""

    name = "CertificateSubjectRestriction"
    operations = frozenset({"CREATE"})
    resources = _REQUESTS
    subresources = WHOLE_OBJECTS

    async def validate(self, attributes: Attributes) -> None:
        spec = (attributes.obj or {}).get("spec") or {}
        if spec.get("signerName") != CLIENT_SIGNER:
            return
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        try:
            request = x509.load_pem_x509_csr(base64.b64decode(spec.get("request", "")))
        except (ValueError, binascii.Error) as error:
            raise forbidden(attributes, f"failed to parse CSR: {error}") from error
        if any(
            name.value == SYSTEM_MASTERS for name in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        ):
            raise forbidden(attributes, f"use of {CLIENT_SIGNER} signer with {SYSTEM_MASTERS} group is not allowed")


class CertificateApproval(Plugin):
    """Approving takes the verb `approve` on the signer."""

    name = "CertificateApproval"
    operations = frozenset({"UPDATE"})
    resources = _REQUESTS
    subresources = frozenset({"approval"})

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def validate(self, attributes: Attributes) -> None:
        signer = ((attributes.old or {}).get("spec") or {}).get("signerName", "")
        if not await may_use_signer(self._authorizer, attributes.user, "approve", signer):
            raise forbidden(attributes, f'user not permitted to approve requests with signerName "{signer}"')


class CertificateSigning(Plugin):
    """Issuing takes the verb `sign` on the signer."""

    name = "CertificateSigning"
    operations = frozenset({"UPDATE"})
    resources = _REQUESTS
    subresources = frozenset({"status"})

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def validate(self, attributes: Attributes) -> None:
        old = attributes.old or {}
        before, after = old.get("status") or {}, (attributes.obj or {}).get("status") or {}
        if all((before.get(field) or None) == (after.get(field) or None) for field in ("certificate", "conditions")):
            return
        signer = (old.get("spec") or {}).get("signerName", "")
        if not await may_use_signer(self._authorizer, attributes.user, "sign", signer):
            raise forbidden(attributes, f'user not permitted to sign requests with signerName "{signer}"')


async def may_use_signer(authorizer: Authorizer, user: User, verb: str, signer: str) -> bool:
    """Whether `user` has `verb` on the signer by its name, or on all signers of its domain."""
    domain = signer.partition("/")[0]
    for name in (signer, f"{domain}/*"):
        if (await authorizer.authorize(Question(user, verb, _GROUP, "*", "signers", name=name))).is_allowed:
            return True
    return False
