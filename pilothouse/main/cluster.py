"""A cluster on this machine: which processes it is made of, and how it is reached."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilothouse.api.meta import parse_time
from pilothouse.kit.clock import SystemClock
from pilothouse.kit.pki import Pki
from pilothouse.main import credentials
from pilothouse.main.component import DIRECTORY_VARIABLE
from pilothouse.main.failure import Fatal
from pilothouse.main.paths import Paths
from pilothouse.main.settings import Settings
from pilothouse.main.supervisor import ProcessSpec

API_SERVER = "apiserver"
CONTROL = "control"
NODE = "node"


def processes(settings: Settings, paths: Paths, directory: Path | None) -> Sequence[ProcessSpec]:
    """The processes of a cluster, in the order in which they start."""
    environment = {DIRECTORY_VARIABLE: str(directory) if directory is not None else ""}

    def pilothouse(name: str, *arguments: str) -> ProcessSpec:
        return ProcessSpec(name, (sys.executable, "-m", "pilothouse.main", name, *arguments), environment)

    specs = [pilothouse(API_SERVER, *_api_server_flags(settings, paths))]
    specs.append(pilothouse(CONTROL))
    specs.append(pilothouse(NODE))
    return specs


def _api_server_flags(settings: Settings, paths: Paths) -> list[str]:
    pki = Pki(paths.pki, SystemClock())
    kubelet_client = credentials.KUBELET_CLIENT.name
    flags = {
        "advertise-address": settings.node_ip,
        "secure-port": settings.secure_port,
        "database": paths.database,
        "client-ca-file": pki.certificate_path("ca"),
        "tls-cert-file": pki.certificate_path("apiserver"),
        "tls-private-key-file": pki.key_path("apiserver"),
        "service-account-key-file": pki.public_key_path("sa"),
        "service-account-signing-key-file": pki.key_path("sa"),
        "service-account-issuer": f"https://kubernetes.default.svc.{settings.domain}",
        "service-cluster-ip-range": settings.service_cidr,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "kubelet-certificate-authority": pki.certificate_path("ca"),
        "requestheader-client-ca-file": pki.certificate_path("front-proxy-ca"),
        "proxy-client-cert-file": pki.certificate_path("front-proxy-client"),
        "proxy-client-key-file": pki.key_path("front-proxy-client"),
        "kubelet-client-certificate": pki.certificate_path(kubelet_client),
        "kubelet-client-key": pki.key_path(kubelet_client),
        "warn-without-effect": "true",
    }
    return [f"--{name}={value}" for name, value in flags.items()]


def node_address() -> str:
    """This machine's address towards the rest of the world; loopback without a route. Nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def default_node_name() -> str:
    """The host's name as a node's: lower case, without the domain."""
    return socket.gethostname().split(".")[0].lower()


def default_settings(*, simulated: int = 0) -> Settings:
    address = "127.0.0.1" if simulated else node_address()
    return Settings(node_name=default_node_name(), node_ip=address, simulated=simulated)


def check_ports(settings: Settings) -> None:
    """Raises Fatal if a port that the cluster needs is in use."""
    ports = {"the API server": settings.secure_port}
    if not settings.simulated:
        ports |= {"the kubelet": settings.kubelet_port, "the kubelet's read-only server": settings.read_only_port}
    for user, port in ports.items():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError as error:
                raise Fatal(
                    f"port {port}, for {user}, is in use ({error.strerror}): end the program that uses it "
                    f"(`ss -ltnp 'sport = :{port}'` names it), or choose another port"
                ) from error


class Api:
    """The cluster's API for the command line: blocking calls as the administrator, standard library only."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        pki = Pki(paths.pki, SystemClock())
        self._port = settings.secure_port
        try:
            self._context = ssl.create_default_context(cafile=str(pki.certificate_path("ca")))
            admin = credentials.ADMIN.name
            self._context.load_cert_chain(pki.certificate_path(admin), pki.key_path(admin))
        except FileNotFoundError as error:
            raise Fatal(f"{error.filename or paths.pki} is missing: run `pilothouse up` to make it") from error

    def get(self, path: str, timeout_s: float = 5.0) -> tuple[int, bytes]:
        """The status and body of an answer. Raises OSError while the server cannot be reached."""
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context, timeout=timeout_s)
        try:
            connection.request("GET", path, headers={"accept": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def nodes(self) -> list[dict[str, Any]]:
        """The Node objects. Raises OSError while the server cannot be reached."""
        status, body = self.get("/api/v1/nodes")
        if status != 200:
            return []
        nodes: list[dict[str, Any]] = json.loads(body).get("items") or []
        return nodes


def is_node_ready(node: dict[str, Any], since: float = 0.0) -> bool:
    """Whether a node is ready, as its kubelet said after `since` (seconds since the epoch)."""
    conditions = node.get("status", {}).get("conditions") or ()
    ready = next((condition for condition in conditions if condition["type"] == "Ready"), None)
    return (
        ready is not None
        and ready["status"] == "True"
        and parse_time(ready.get("lastHeartbeatTime", "1970-01-01T00:00:00Z")) >= int(since)
    )


def require_root(what: str) -> None:
    if os.geteuid() != 0:
        raise Fatal(f"{what} needs root: run it with sudo, or try `pilothouse up --simulated 3`, which does not")
