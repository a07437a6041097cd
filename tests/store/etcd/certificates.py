"""Certificates for an etcd that wants clients to show theirs."""

from __future__ import annotations

import shutil
from pathlib import Path

from pilothouse.kit.clock import SystemClock
from pilothouse.kit.pki import Authority, Certificate, Pki


class Certificates:
    """Files in a directory; the client's also as bytes."""

    def __init__(self, directory: Path) -> None:
        self.pki = pki = Pki(directory / "pki", SystemClock())
        pki.ensure(
            [
                Authority("ca", "etcd-ca"),
                Authority("stranger", "stranger"),
                Certificate("server", "etcd", usages=("server", "client"), ip_addresses=("127.0.0.1",)),
                Certificate("client", "apiserver"),
            ]
        )
        self.authority = pki.certificate_path("ca").read_bytes()
        self.stranger = pki.certificate_path("stranger").read_bytes()
        self.certificate = pki.certificate_path("client").read_bytes()
        self.key = pki.key_path("client").read_bytes()

    def become(self, other: Certificates) -> None:
        """Replace the files by another set's."""
        for file in (other.pki.certificate_path("ca").parent).iterdir():
            shutil.copy(file, self.pki.certificate_path("ca").parent / file.name)

    def server_flags(self) -> list[str]:
        return [
            f"--cert-file={self.pki.certificate_path('server')}",
            f"--key-file={self.pki.key_path('server')}",
            f"--trusted-ca-file={self.pki.certificate_path('ca')}",
            "--client-cert-auth",
        ]
