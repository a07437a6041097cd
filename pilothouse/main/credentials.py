"""The certificates, keys and kubeconfigs of a cluster on one machine: which there are, and for whom.

Subjects are upstream's (kubeadm's PKI), so RBAC's bootstrap bindings apply to them.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path

from pilothouse.kit.clock import Clock
from pilothouse.kit.pki import Authority, Certificate, Item, Pki, SigningKey
from pilothouse.main.paths import Paths
from pilothouse.main.settings import Settings

ADMIN = Certificate("admin", "kubernetes-admin", organizations=("system:masters",))
CONTROLLER_MANAGER = Certificate("controller-manager", "system:kube-controller-manager")
SCHEDULER = Certificate("scheduler", "system:kube-scheduler")
PROXY = Certificate("proxy", "system:kube-proxy")
DNS = Certificate("dns", "system:node-dns", organizations=("system:node-dns",))
KUBELET_CLIENT = Certificate(
    "apiserver-kubelet-client", "kube-apiserver-kubelet-client", organizations=("system:masters",)
)
SERVICE_ACCOUNT_KEY = SigningKey("sa")


def node_names(settings: Settings) -> tuple[str, ...]:
    """The nodes of this machine."""
    if settings.simulated:
        return tuple(f"simulated-{number}" for number in range(settings.simulated))
    return (settings.node_name,)


def node_client(node: str) -> Certificate:
    return Certificate(f"node-{node}", f"system:node:{node}", organizations=("system:nodes",))


def node_server(node: str, settings: Settings) -> Certificate:
    return Certificate(
        f"node-{node}-server",
        f"system:node:{node}",
        organizations=("system:nodes",),
        usages=("server",),
        dns_names=(node,),
        ip_addresses=(settings.node_ip, "127.0.0.1"),
    )


def items(settings: Settings) -> Sequence[Item]:
    """All that the cluster needs, authorities first."""
    api_server = Certificate(
        "apiserver",
        "kube-apiserver",
        usages=("server",),
        dns_names=(
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{settings.domain}",
            "localhost",
            settings.node_name,
        ),
        ip_addresses=tuple(dict.fromkeys((settings.kubernetes_ip, settings.node_ip, "127.0.0.1"))),
    )
    nodes = node_names(settings)
    return (
        Authority("ca", "pilothouse-ca"),
        Authority("front-proxy-ca", "pilothouse-front-proxy-ca"),
        SERVICE_ACCOUNT_KEY,
        api_server,
        KUBELET_CLIENT,
        Certificate("front-proxy-client", "front-proxy-client", authority="front-proxy-ca"),
        *(ADMIN, CONTROLLER_MANAGER, SCHEDULER, PROXY, DNS),
        *(node_client(node) for node in nodes),
        *(node_server(node, settings) for node in nodes),
    )


def ensure(paths: Paths, settings: Settings, clock: Clock) -> list[str]:
    """Make what is missing or about to expire, and the kubeconfigs; the names of certificates and keys that were written."""
    pki = Pki(paths.pki, clock)
    written = pki.ensure(items(settings))
    users = [ADMIN, CONTROLLER_MANAGER, SCHEDULER, PROXY, DNS, *(node_client(node) for node in node_names(settings))]
    for user in users:
        path = kubeconfig_path(paths, user)
        _write_private(path, _kubeconfig(pki, settings, user, inline=user is ADMIN))
    return written


def kubeconfig_path(paths: Paths, user: Certificate) -> Path:
    return paths.kubeconfigs / f"{user.name}.conf"


def _kubeconfig(pki: Pki, settings: Settings, user: Certificate, *, inline: bool) -> str:
    """A kubeconfig; in JSON, which is YAML too. Only the admin's, which travels, holds the credentials themselves."""
    files = {
        "certificate-authority": pki.certificate_path("ca"),
        "client-certificate": pki.certificate_path(user.name),
        "client-key": pki.key_path(user.name),
    }
    values = {
        f"{name}-data" if inline else name: base64.b64encode(path.read_bytes()).decode() if inline else str(path)
        for name, path in files.items()
    }
    authority = {name: value for name, value in values.items() if name.startswith("certificate-authority")}
    credentials = {name: value for name, value in values.items() if name.startswith("client-")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "pilothouse", "cluster": {"server": settings.server, **authority}}],
        "users": [{"name": "pilothouse-admin" if inline else user.common_name, "user": credentials}],
        "contexts": [
            {
                "name": "pilothouse",
                "context": {"cluster": "pilothouse", "user": "pilothouse-admin" if inline else user.common_name},
            }
        ],
        "current-context": "pilothouse",
    }
    return json.dumps(config, indent=2) + "\n"


def _write_private(path: Path, content: str) -> None:
    if path.exists() and path.read_text() == content:
        return
    temporary = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
    temporary.replace(path)
