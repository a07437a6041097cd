"""Certificates as a user of stock kubectl gets them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.cluster import KUBECTL, Cluster, until

pytestmark = pytest.mark.xdist_group("e2e-simulated")


def test_a_user_gets_a_certificate_and_uses_it(simulated: Cluster, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM)
    obj = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "alice"},
        "spec": {
            "request": base64.b64encode(pem).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        },
    }
    simulated.kubectl("create", "-f", "-", text=yaml.safe_dump(obj))
    assert "Pending" in simulated.kubectl("get", "csr", "alice")
    simulated.kubectl("certificate", "approve", "alice")

    def issued() -> str:
        return simulated.kubectl("get", "csr", "alice", "-o", "jsonpath={.status.certificate}")

    certificate = base64.b64decode(until(issued, "the certificate is issued"))
    assert "Approved,Issued" in simulated.kubectl("get", "csr", "alice")
    (tmp_path / "alice.crt").write_bytes(certificate)
    private = serialization.PrivateFormat.PKCS8
    plain = key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    (tmp_path / "alice.key").write_bytes(plain)
    config = json.loads(simulated.kubeconfig.read_text())
    user = {"client-certificate": str(tmp_path / "alice.crt"), "client-key": str(tmp_path / "alice.key")}
    config["users"][0]["user"] = user
    (tmp_path / "config").write_text(json.dumps(config))
    answer = simulated.run(KUBECTL, f"--kubeconfig={tmp_path / 'config'}", "auth", "whoami", "-o", "json")
    assert json.loads(answer.output)["status"]["userInfo"]["username"] == "alice"


def test_every_group_has_an_api_service(simulated: Cluster) -> None:
    def available() -> bool:
        listed = simulated.kubectl("get", "apiservices", "--no-headers").splitlines()
        return len(listed) > 20 and all(line.split()[1:3] == ["Local", "True"] for line in listed)

    until(available, "all groups are available")
    trust = simulated.kubectl("-n", "kube-system", "get", "cm", "extension-apiserver-authentication", "-o", "json")
    data = json.loads(trust)["data"]
    assert data["requestheader-allowed-names"] == '["front-proxy-client"]'
    assert "BEGIN CERTIFICATE" in data["client-ca-file"]
