"""`pilothouse apiserver`: the API server as a process."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.apiserver.aggregation.backend import Credentials
from pilothouse.apiserver.app import ApiServer
from pilothouse.apiserver.authn.issuer import DEFAULT_ISSUER, JWKS_PATH
from pilothouse.apiserver.deadline import REQUEST_TIMEOUT_S
from pilothouse.apiserver.errors import refusal
from pilothouse.apiserver.metrics.edge import families as edge_families
from pilothouse.apiserver.metrics.store import MeasuredStore, StoreCalls, size_of
from pilothouse.apiserver.offer import offered, switches
from pilothouse.apiserver.proxy.kubelet import KubeletTls
from pilothouse.apiserver.security import SecurityOptions
from pilothouse.apiserver.server_id import server_id
from pilothouse.kit.clock import Clock, SystemClock
from pilothouse.kit.http.limits import Limits
from pilothouse.kit.http.server import Server
from pilothouse.kit.http.tls import server_context
from pilothouse.main.apiserver_audit import FLAGS as AUDIT_FLAGS
from pilothouse.main.apiserver_audit import build_auditor
from pilothouse.main.apiserver_parts import STORE_HEALTH_S, ServerOptions, assemble
from pilothouse.main.apiserver_security import FLAGS as SECURITY_FLAGS
from pilothouse.main.apiserver_security import (
    FRONT_PROXY_FLAGS,
    authorization_options,
    foreign_options,
    header_names,
)
from pilothouse.main.apiserver_store import open_stores, read_file
from pilothouse.main.apiserver_tls import follow
from pilothouse.main.component import Component
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import Flag, Values, boolean, cidr, duration, integer, ip_address, listed, port
from pilothouse.main.open_files import KEPT, raise_open_files
from pilothouse.store.base import Store, StoreUnavailable
from pilothouse.store.encryption import ConfigurationError, EncryptedStore, Rule, rules_of
from pilothouse.store.etcd.options import COMPACTION_INTERVAL_S, DEFAULT_PREFIX, LEASE_REUSE_S

FLAGS = (
    Flag("advertise-address", "", "address at which the cluster reaches this server", ip_address),
    Flag("bind-address", "0.0.0.0", "address to listen on", ip_address),
    Flag("secure-port", 6443, "port to listen on", port),
    Flag("database", "/var/lib/pilothouse/store/state.db", "SQLite file that holds the cluster's state"),
    Flag(
        "etcd-servers",
        (),
        "etcd servers that hold the cluster's state in place of --database: scheme://host:port,…",
        listed,
    ),
    Flag(
        "etcd-servers-overrides",
        (),
        "etcd servers of some resources' own: group/resource#servers, separated by semicolons, such as /events#http://etcd6:2379",
        listed,
    ),
    Flag("etcd-cafile", "", "authorities of the etcd servers' certificates, PEM"),
    Flag("etcd-certfile", "", "certificate shown to etcd, PEM"),
    Flag("etcd-keyfile", "", "its key, PEM"),
    Flag("etcd-prefix", DEFAULT_PREFIX, "prefix of all keys in etcd"),
    Flag(
        "etcd-compaction-interval", COMPACTION_INTERVAL_S, "how long etcd's history is kept; 0 never compacts", duration
    ),
    Flag("etcd-healthcheck-timeout", STORE_HEALTH_S, "how long the store may take before /livez is red", duration),
    Flag("etcd-readycheck-timeout", STORE_HEALTH_S, "how long the store may take before /readyz is red", duration),
    Flag("lease-reuse-duration-seconds", int(LEASE_REUSE_S), "for how long keys that expire share a lease", integer),
    Flag("tls-cert-file", "", "the server's certificate, PEM"),
    Flag("tls-private-key-file", "", "its key, PEM"),
    Flag("client-ca-file", "", "authorities whose client certificates are believed, PEM"),
    Flag("requestheader-client-ca-file", "", "authorities of front proxies, which may name users, PEM"),
    Flag("requestheader-allowed-names", ("front-proxy-client",), "common names of front proxies", listed),
    *FRONT_PROXY_FLAGS,
    Flag("proxy-client-cert-file", "", "certificate shown to extension servers, PEM"),
    Flag("proxy-client-key-file", "", "its key, PEM"),
    Flag("token-auth-file", "", 'CSV file of tokens: token,user,uid,"group1,group2"'),
    Flag("enable-bootstrap-token-auth", False, "believe the tokens of new nodes, Secrets in kube-system", boolean),
    Flag("service-account-key-file", (), "public keys that verify service account tokens, PEM", repeated=True),
    Flag("service-account-signing-key-file", "", "private key that signs service account tokens, PEM"),
    Flag(
        "service-account-issuer",
        (DEFAULT_ISSUER,),
        "issuer of tokens; the first one issues, all are believed",
        repeated=True,
    ),
    Flag("service-account-jwks-uri", "", "where others find the keys (default: at the advertised address)"),
    Flag("service-account-max-token-expiration", 0.0, "how long tokens live at most; 0 is no limit", duration),
    Flag("service-account-extend-token-expiration", True, "let tokens of pods live a year, for old clients", boolean),
    Flag("service-account-lookup", True, "believe tokens in Secrets only as long as these are there", boolean),
    Flag("api-audiences", (), "audiences that this server answers to (default: the issuer)", listed),
    Flag("service-cluster-ip-range", "10.96.0.0/16", "range of the Services' addresses", cidr),
    Flag("service-node-port-range", "30000-32767", "range of the Services' node ports"),
    Flag("max-requests-inflight", 400, "reads worked on at once; shared with writes, by priority levels", integer),
    Flag("max-mutating-requests-inflight", 200, "writes worked on at once; shared with reads", integer),
    Flag("request-timeout", REQUEST_TIMEOUT_S, "how long a request may take; watches and streams are exempt", duration),
    Flag(
        "shutdown-delay-duration",
        0.0,
        "how long the server still serves, no longer ready, after it was told to stop",
        duration,
    ),
    Flag("min-request-timeout", 1800, "seconds that a watch lasts at least, unless it says so itself", integer),
    Flag(
        "runtime-config",
        (),
        "what is served of the built-in API, key=true|false,…: v1, <group>/<version>[/<resource>], api/all, api/ga, api/beta, api/alpha",
        repeated=True,
    ),
    *AUDIT_FLAGS,
    Flag("encryption-provider-config", "", "file that says which kinds are encrypted in the store, and how"),
    Flag("event-ttl", 3600.0, "how long events are kept", duration),
    *SECURITY_FLAGS,
    Flag("enable-admission-plugins", (), "admission plugins to run beside the default ones", listed),
    Flag("disable-admission-plugins", (), "admission plugins not to run", listed),
    Flag("kubelet-certificate-authority", "", "authority of the kubelets' certificates, PEM"),
    Flag("kubelet-client-certificate", "", "certificate shown to kubelets, PEM"),
    Flag("kubelet-client-key", "", "its key, PEM"),
    Flag("warn-without-effect", False, "warn who writes a kind that no component of `pilothouse up` acts on", boolean),
)


def options_of(values: Values) -> ServerOptions:
    """Raises Fatal for values that do not fit together or files that cannot be read."""
    for required in ("tls_cert_file", "tls_private_key_file", "service_account_signing_key_file"):
        if not getattr(values, required):
            raise Fatal(f"--{required.replace('_', '-')} is missing; `pilothouse up` sets up a whole cluster with it")
    if not values.service_account_key_file:
        raise Fatal("--service-account-key-file is missing: without it no service account token can be verified")
    first, separator, last = values.service_node_port_range.partition("-")
    if not (separator and first.isdigit() and last.isdigit() and int(first) <= int(last) <= 65535):
        raise Fatal(f"--service-node-port-range {values.service_node_port_range} is not a range such as 30000-32767")
    return ServerOptions(
        service_ranges=(ip_network(values.service_cluster_ip_range),),
        advertise_address=values.advertise_address or "127.0.0.1",
        secure_port=values.secure_port,
        server_id=server_id(socket.gethostname()),
        node_ports=range(int(first), int(last) + 1),
        event_ttl_s=values.event_ttl,
        shares_store=bool(values.etcd_servers),
        security=_security(values),
        proxy_client=_proxy_client(values),
        request_timeout_s=_request_timeout_s(values),
        min_watch_s=values.min_request_timeout,
        seats=_seats(values),
        store_health_s=values.etcd_healthcheck_timeout,
        store_readiness_s=values.etcd_readycheck_timeout,
        offered=_offered(values),
        warns_without_effect=values.warn_without_effect,
    )


def _security(values: Values) -> SecurityOptions:
    return SecurityOptions(
        client_ca=_reader(values.client_ca_file),
        front_proxy_ca=_reader(values.requestheader_client_ca_file),
        front_proxy_names=values.requestheader_allowed_names,
        front_proxy_headers=header_names(values),
        token_file=read_file("token-auth-file", values.token_auth_file).decode() if values.token_auth_file else "",
        signing_key=read_file("service-account-signing-key-file", values.service_account_signing_key_file),
        verifying_keys=lambda: b"\n".join(Path(file).read_bytes() for file in values.service_account_key_file),
        issuers=_issuers(values),
        jwks_uri=values.service_account_jwks_uri or _jwks_uri(values),
        max_token_lifetime_s=int(values.service_account_max_token_expiration),
        extend_token_lifetime=values.service_account_extend_token_expiration,
        look_up_accounts=values.service_account_lookup,
        api_audiences=values.api_audiences,
        bootstrap_tokens=values.enable_bootstrap_token_auth,
        foreign=foreign_options(values),
        authorization=authorization_options(values),
        enable_admission=values.enable_admission_plugins,
        disable_admission=values.disable_admission_plugins,
        kubelet_tls=_kubelet_tls(values),
    )


def _offered(values: Values) -> tuple[Resource, ...]:
    """Raises Fatal."""
    try:
        return offered(RESOURCES, switches(values.runtime_config))
    except ValueError as error:
        raise Fatal(f"--runtime-config: {error}") from error


def _issuers(values: Values) -> tuple[str, ...]:
    """Raises Fatal."""
    issuers = tuple(values.service_account_issuer)
    for index, issuer in enumerate(issuers):
        if not issuer:
            raise Fatal("service-account-issuer should not be an empty string")
        if issuer in issuers[:index]:
            raise Fatal(f'service-account-issuer "{issuer}" is already specified')
    if values.service_account_jwks_uri and not values.service_account_jwks_uri.startswith("https://"):
        raise Fatal(f"service-account-jwks-uri requires https scheme, parsed as: {values.service_account_jwks_uri}")
    return issuers


def _jwks_uri(values: Values) -> str:
    address = values.advertise_address or "127.0.0.1"
    host = f"[{address}]" if ":" in address else address
    return f"https://{host}:{values.secure_port}{JWKS_PATH}"


def _request_timeout_s(values: Values) -> float:
    if values.request_timeout <= 0:
        raise Fatal("--request-timeout must be positive")
    if values.min_request_timeout < 0:
        raise Fatal("--min-request-timeout can not be negative value")
    return float(values.request_timeout)


def _seats(values: Values) -> int:
    reads, writes = values.max_requests_inflight, values.max_mutating_requests_inflight
    if min(reads, writes) < 0 or reads + writes == 0:
        raise Fatal("--max-requests-inflight and --max-mutating-requests-inflight: at least one must be positive")
    return int(reads + writes)


def _proxy_client(values: Values) -> Credentials | None:
    certificate, key = values.proxy_client_cert_file, values.proxy_client_key_file
    if bool(certificate) != bool(key):
        raise Fatal("--proxy-client-cert-file and --proxy-client-key-file go together")
    return Credentials(Path(certificate), Path(key)) if certificate else None


def _reader(file: str) -> Callable[[], bytes] | None:
    return Path(file).read_bytes if file else None


def _kubelet_tls(values: Values) -> KubeletTls | None:
    if not values.kubelet_client_certificate or not values.kubelet_client_key:
        return None
    authority = Path(values.kubelet_certificate_authority) if values.kubelet_certificate_authority else None
    return KubeletTls(authority, Path(values.kubelet_client_certificate), Path(values.kubelet_client_key))


def _encryption_rules(file: str) -> Sequence[Rule]:
    """Of the file of an EncryptionConfiguration; none without one. Raises Fatal."""
    if not file:
        return ()
    try:
        return rules_of(_document("encryption-provider-config", file))
    except ConfigurationError as error:
        raise Fatal(f"--encryption-provider-config {file}: {error}") from error


def _limits(options: ServerOptions) -> Limits:
    limits = Limits(body_timeout_s=options.request_timeout_s, shutdown_s=options.request_timeout_s)
    files = raise_open_files()
    return limits if files < 0 else replace(limits, connections=min(limits.connections, max(1, files - KEPT)))


def _encrypted(store: Store, rules: Sequence[Rule]) -> Store:
    return EncryptedStore(store, rules) if rules else store


def _document(flag: str, file: str) -> Object:
    """The object in a file of YAML or JSON. Raises Fatal."""
    from pilothouse.apiserver import yaml

    try:
        document: Object = yaml.load(read_file(flag, file))[0]
    except ValueError as error:
        raise Fatal(f"--{flag} {file} cannot be read: {error}") from error
    return document


async def run(values: Values) -> None:
    clock, rng = SystemClock(), random.Random()
    options = options_of(values)
    rules = _encryption_rules(values.encryption_provider_config)
    try:
        stores = await open_stores(values, clock, rng)
    except StoreUnavailable as error:
        raise Fatal(str(error)) from error
    try:
        auditor = build_auditor(values, clock, rng, _document)
        calls = StoreCalls(clock, None if values.etcd_servers else lambda: size_of(Path(values.database)))
        kept = stores.each(lambda store: MeasuredStore(_encrypted(store, rules), calls))
        api_server = await assemble(kept.default, options, clock, rng, auditor, others=kept.others)
        authorities = [Path(file) for file in (values.client_ca_file, values.requestheader_client_ca_file) if file]
        context = server_context(Path(values.tls_cert_file), Path(values.tls_private_key_file), client_cas=authorities)
        server = Server(
            api_server.handle,
            host=values.bind_address,
            port=values.secure_port,
            ssl_context=context,
            clock=clock,
            refusal=refusal,
            limits=_limits(options),
        )
        api_server.metrics.add(lambda: edge_families(server))
        api_server.metrics.add(calls.families)
        serving = Path(values.tls_cert_file), Path(values.tls_private_key_file)
        api_server.background.append(lambda: follow(context, *serving, authorities, clock))
        try:
            await server.start()
        except OSError as error:
            raise Fatal(
                f"port {values.secure_port} on {values.bind_address} cannot be opened ({os.strerror(error.errno or 0)}): "
                "end the program that uses it, or give another --secure-port"
            ) from error
        await _serve(api_server, server, clock, values.shutdown_delay_duration)
    except (OSError, ValueError) as error:
        raise Fatal(str(error)) from error
    except StoreUnavailable as error:
        raise Fatal(str(error)) from error
    finally:
        await stores.close()


async def _serve(api_server: ApiServer, server: Server, clock: Clock, delay_s: float) -> None:
    """Until cancelled. Then the server is not ready any more, for `delay_s` still serves, and lets requests in progress finish."""
    beside = asyncio.ensure_future(api_server.run())
    try:
        await asyncio.shield(beside)
    except asyncio.CancelledError:
        api_server.is_stopping = True
        if delay_s:
            await clock.sleep(delay_s)
        raise
    finally:
        await asyncio.shield(server.stop())
        beside.cancel()
        await asyncio.wait([beside])


COMPONENT = Component("apiserver", FLAGS, run)
