"""`pilothouse controller-manager`: the controllers as a process."""

from __future__ import annotations

import random
from pathlib import Path

from pilothouse.client.account import Accounts
from pilothouse.client.client import Client
from pilothouse.client.informer import InformerFactory
from pilothouse.client.socket import SocketTransport
from pilothouse.controllers.runtime import Context, ControllerRuntime, Options, select
from pilothouse.controllers.table import CONTROLLERS
from pilothouse.kit.clock import Clock, SystemClock
from pilothouse.main import election
from pilothouse.main.component import Component
from pilothouse.main.connect import KUBECONFIG, connect
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import Flag, Values, boolean, duration, integer, listed
from pilothouse.main.signing import FLAGS as SIGNING_FLAGS
from pilothouse.main.signing import signing_files

NAME = "kube-controller-manager"
_DEFAULTS = Options()

FLAGS = (
    KUBECONFIG,
    Flag("controllers", ("*",), "controllers to run: '*' for all, 'name' to add and '-name' to leave out one", listed),
    Flag("cluster-cidr", _DEFAULTS.cluster_cidrs, "range of the pods' addresses", listed),
    Flag("service-cluster-ip-range", _DEFAULTS.service_cidrs, "range of the Services' addresses", listed),
    Flag("allocate-node-cidrs", True, "give each node a part of the pods' range", boolean),
    Flag("node-cidr-mask-size-ipv4", _DEFAULTS.node_cidr_mask_ipv4, "size of a node's part", integer),
    Flag("node-cidr-mask-size-ipv6", _DEFAULTS.node_cidr_mask_ipv6, "size of a node's part", integer),
    Flag("node-monitor-period", _DEFAULTS.node_monitor_period_s, "how often nodes are looked at", duration),
    Flag("node-monitor-grace-period", _DEFAULTS.node_monitor_grace_s, "how long a node may be silent", duration),
    Flag("node-startup-grace-period", _DEFAULTS.node_startup_grace_s, "the same for a node that starts", duration),
    Flag("terminated-pod-gc-threshold", _DEFAULTS.terminated_pod_threshold, "how many ended pods are kept", integer),
    Flag("max-endpoints-per-slice", _DEFAULTS.max_endpoints_per_slice, "size of an EndpointSlice", integer),
    Flag("root-ca-file", "", "authority to publish in every namespace as kube-root-ca.crt"),
    *SIGNING_FLAGS,
    Flag("cluster-signing-duration", _DEFAULTS.signing_duration_s, "the longest that certificates live", duration),
    Flag("use-service-account-credentials", False, "write as a service account for each controller", boolean),
    *election.FLAGS,
)


def options_of(values: Values) -> Options:
    """Raises Fatal for a file that cannot be read."""
    root_ca = ""
    if values.root_ca_file:
        try:
            root_ca = Path(values.root_ca_file).read_text()
        except OSError as error:
            raise Fatal(f"--root-ca-file {values.root_ca_file} cannot be read: {error.strerror}") from error
    return Options(
        cluster_cidrs=values.cluster_cidr if values.allocate_node_cidrs else (),
        service_cidrs=values.service_cluster_ip_range,
        node_cidr_mask_ipv4=values.node_cidr_mask_size_ipv4,
        node_cidr_mask_ipv6=values.node_cidr_mask_size_ipv6,
        root_ca=root_ca,
        signing_files=signing_files(values),
        signing_duration_s=values.cluster_signing_duration,
        node_monitor_period_s=values.node_monitor_period,
        node_monitor_grace_s=values.node_monitor_grace_period,
        node_startup_grace_s=values.node_startup_grace_period,
        terminated_pod_threshold=values.terminated_pod_gc_threshold,
        max_endpoints_per_slice=values.max_endpoints_per_slice,
    )


def controllers(client: Client, informers: InformerFactory, clock: Clock, values: Values) -> ControllerRuntime:
    """The controllers that the flags choose. Raises Fatal for one that there is not."""
    try:
        chosen = select(CONTROLLERS, values.controllers)
    except ValueError as error:
        raise Fatal(f"--controllers: {error}") from error
    accounts = None
    if values.use_service_account_credentials and isinstance(client.transport, SocketTransport):
        accounts = Accounts(client, client.transport.without_credentials(), clock)
    context = Context(client, informers, clock, random.Random(), options_of(values), accounts=accounts)
    return ControllerRuntime(context, chosen)


async def run(values: Values) -> None:
    clock = SystemClock()
    client = connect(values.kubeconfig, "controller-manager")

    async def work() -> None:
        await controllers(client, InformerFactory(client, clock), clock, values).run()

    await election.lead(NAME, client, values, clock, work)


COMPONENT = Component("controller-manager", FLAGS, run)
