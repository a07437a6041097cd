"""Who a cluster's components are: the subjects of their certificates, as upstream and kubeadm name them."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.kit.pki import Authority, Certificate, Item, SigningKey

SYSTEM_MASTERS = "system:masters"
SYSTEM_NODES = "system:nodes"
SYSTEM_AUTHENTICATED = "system:authenticated"
SYSTEM_UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS = "system:anonymous"
NODE_PREFIX = "system:node:"
SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"
SERVICE_ACCOUNTS = "system:serviceaccounts"
CLUSTER_ADMINS = "kubeadm:cluster-admins"


def authorities() -> tuple[Item, ...]:
    """The authorities and the key that signs service account tokens: made once for a cluster."""
    return (
        Authority("ca", "kubernetes"),
        Authority("front-proxy-ca", "front-proxy-ca"),
        SigningKey("sa"),
    )


def control_plane(
    *, hostnames: Sequence[str], addresses: Sequence[str], domain: str = "cluster.local"
) -> tuple[Item, ...]:
    """What one master needs besides the authorities. `addresses` are where it is reached, the kubernetes Service's among them."""
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{domain}")
    return (
        Certificate(
            "apiserver",
            "kube-apiserver",
            usages=("server",),
            dns_names=tuple(dict.fromkeys((*service, "localhost", *hostnames))),
            ip_addresses=tuple(dict.fromkeys((*addresses, "127.0.0.1", "::1"))),
        ),
        Certificate("apiserver-kubelet-client", "kube-apiserver-kubelet-client", organizations=(SYSTEM_MASTERS,)),
        Certificate("front-proxy-client", "front-proxy-client", authority="front-proxy-ca"),
        Certificate("controller-manager", "system:kube-controller-manager"),
        Certificate("scheduler", "system:kube-scheduler"),
        Certificate("admin", "kubernetes-admin", organizations=(CLUSTER_ADMINS,)),
        Certificate("super-admin", "kubernetes-super-admin", organizations=(SYSTEM_MASTERS,)),
    )


def node(name: str, *, addresses: Sequence[str]) -> tuple[Item, ...]:
    """What one node needs: the kubelet's client and serving certificates and kube-proxy's client certificate."""
    subject = NODE_PREFIX + name
    return (
        Certificate(f"kubelet-client-{name}", subject, organizations=(SYSTEM_NODES,)),
        Certificate(
            f"kubelet-{name}",
            subject,
            organizations=(SYSTEM_NODES,),
            usages=("server",),
            dns_names=(name,),
            ip_addresses=tuple(dict.fromkeys((*addresses, "127.0.0.1"))),
        ),
        Certificate("kube-proxy", "system:kube-proxy"),
    )
