"""Which authority signs for which signer."""

import pytest

from pilothouse.controllers.certificates import signing
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import parse
from pilothouse.main.signing import FLAGS, signing_files


def files(*arguments):
    return signing_files(parse("controller-manager", FLAGS, arguments))


def test_one_authority_for_all():
    assert files() == {}
    found = files("--cluster-signing-cert-file=a", "--cluster-signing-key-file=b")
    assert found == dict.fromkeys(signing.SIGNERS, ("a", "b"))
    assert "kubernetes.io/legacy-unknown" in found


def test_an_authority_of_its_own():
    found = files("--cluster-signing-kubelet-client-cert-file=a", "--cluster-signing-kubelet-client-key-file=b")
    assert found == {"kubernetes.io/kube-apiserver-client-kubelet": ("a", "b")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cluster-signing-cert-file=a"], "go together"),
        (
            ["--cluster-signing-legacy-unknown-key-file=b"],
            '"cluster-signing-legacy-unknown": cannot specify key without cert',
        ),
        (
            [
                "--cluster-signing-cert-file=a",
                "--cluster-signing-key-file=b",
                "--cluster-signing-kubelet-serving-cert-file=a",
                "--cluster-signing-kubelet-serving-key-file=b",
            ],
            "at the same time",
        ),
    ],
)
def test_flags_that_do_not_go_together(arguments, message):
    with pytest.raises(Fatal) as caught:
        files(*arguments)
    assert message in str(caught.value)
