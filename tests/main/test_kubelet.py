"""The kubelet's flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pilothouse.kit import certificate
from pilothouse.kit.clock import SystemClock
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import FlagError, Values, parse
from pilothouse.main.kubelet import FLAGS, options_of, server_options_of


def values(*arguments: str) -> Values:
    return parse("kubelet", FLAGS, ("--hostname-override=n1", "--node-ip=10.0.0.9", *arguments))


def test_flags_become_options() -> None:
    options = options_of(
        values(
            "--node-labels=a=b,c=",
            "--register-with-taints=k=v:NoSchedule,only:NoExecute",
            "--container-log-max-size=20Mi",
            "--max-pods",
            "7",
            "--cluster-dns=10.96.0.10",
        )
    )
    assert (options.node_name, options.node_ips, options.max_pods) == ("n1", ("10.0.0.9",), 7)
    assert options.labels == {"a": "b", "c": ""}
    assert options.taints == (
        {"key": "k", "value": "v", "effect": "NoSchedule"},
        {"key": "only", "effect": "NoExecute"},
    )
    assert (options.log_max_bytes, options.cluster_dns) == (20 << 20, ("10.96.0.10",))


@pytest.mark.parametrize(
    "argument",
    [
        "--pod-manifest-path=/etc/kubernetes/manifests",
        "--config=/x",
        "--register-with-taints=a",
        "--register-with-taints=a=b:Never",
        "--container-runtime-endpoint=tcp://x",
        "--cgroup-driver=other",
        "--authorization-mode=RBAC",
        "--container-log-max-size=big",
        "--node-ip=here",
        "--node-ip=10.0.0.1,10.0.0.2,10.0.0.3",
        "--port=70000",
    ],
)
def test_flags_that_are_refused(argument: str) -> None:
    with pytest.raises(FlagError):
        values(argument)


@pytest.mark.parametrize("arguments", [("--container-log-max-files=1",), ("--max-pods=-1",)])
def test_options_that_are_refused(arguments: Any) -> None:
    with pytest.raises(Fatal):
        options_of(values(*arguments))


def test_the_server_has_a_certificate_of_its_own_where_none_is_given(tmp_path: Path) -> None:
    given = values(f"--cert-dir={tmp_path}", "--anonymous-auth", "--authorization-mode=AlwaysAllow")
    options = server_options_of(given, options_of(given), SystemClock())
    (der,) = certificate.pem_blocks(options.certificate.read_bytes())
    facts = certificate.read(der)
    assert (facts.dns_names, facts.ip_addresses) == ({"n1"}, {"10.0.0.9", "127.0.0.1"})
    assert (options.anonymous_auth, options.always_allow) == (True, True)


@pytest.mark.parametrize(
    "arguments",
    [("--tls-cert-file=/x",), ("--tls-cert-file=/x", "--tls-private-key-file=/y"), ("--client-ca-file=/x",)],
)
def test_files_that_cannot_be_read(tmp_path: Path, arguments: Any) -> None:
    given = values(f"--cert-dir={tmp_path}", *arguments)
    with pytest.raises(Fatal):
        server_options_of(given, options_of(given), SystemClock())
