"""Which authorities sign certificate requests: one for all signers, or one for each.

Source: `cmd/kube-controller-manager/app/options/csrsigningcontroller.go`.
"""

from __future__ import annotations

from pilothouse.controllers.certificates import signing
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import Flag, Values

_NAMES = {
    "kubelet-serving": signing.KUBELET_SERVING,
    "kubelet-client": signing.KUBELET_CLIENT,
    "kube-apiserver-client": signing.CLIENT,
    "legacy-unknown": signing.LEGACY,
}

FLAGS = (
    Flag("cluster-signing-cert-file", "", "authority that signs certificate requests, PEM; for all signers"),
    Flag("cluster-signing-key-file", "", "its key, PEM"),
    *(
        flag
        for name, signer in _NAMES.items()
        for flag in (
            Flag(f"cluster-signing-{name}-cert-file", "", f"authority of the signer {signer} alone, PEM"),
            Flag(f"cluster-signing-{name}-key-file", "", "its key, PEM"),
        )
    ),
)


def signing_files(values: Values) -> dict[str, tuple[str, str]]:
    """By signer: authority and key. Raises Fatal for flags that do not go together."""
    common = values.cluster_signing_cert_file, values.cluster_signing_key_file
    if bool(common[0]) != bool(common[1]):
        raise Fatal("--cluster-signing-cert-file and --cluster-signing-key-file go together")
    specific = {}
    for name, signer in _NAMES.items():
        prefix = f"cluster_signing_{name.replace('-', '_')}"
        certificate, key = getattr(values, f"{prefix}_cert_file"), getattr(values, f"{prefix}_key_file")
        if bool(certificate) != bool(key):
            given, lacking = ("cert", "key") if certificate else ("key", "cert")
            raise Fatal(f'"cluster-signing-{name}": cannot specify {given} without {lacking}')
        if certificate:
            specific[signer] = certificate, key
    if specific and common[0]:
        raise Fatal(
            "cannot specify --cluster-signing-{cert,key}-file and other --cluster-signing-*-file flags at the same time"
        )
    return specific or (dict.fromkeys(signing.SIGNERS, common) if common[0] else {})
