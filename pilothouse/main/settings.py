"""What a cluster on this machine was started with; kept beside its data, so that it comes back the same."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_network
from typing import Any

from pilothouse.main.failure import Fatal
from pilothouse.main.paths import Paths


@dataclass(frozen=True, slots=True)
class Settings:
    """A cluster's settings. Addresses are IPv4 texts; `simulated` is the number of simulated nodes, 0 for a real node."""

    node_name: str
    node_ip: str
    is_address_chosen: bool = False
    """Whether the user named the address; else it is found out anew at each start."""
    simulated: int = 0
    secure_port: int = 6443
    kubelet_port: int = 10250
    read_only_port: int = 10255
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/16"
    domain: str = "cluster.local"

    @property
    def kubernetes_ip(self) -> str:
        """The ClusterIP of the `kubernetes` Service: the first of the range."""
        return str(ip_network(self.service_cidr)[1])

    @property
    def dns_ip(self) -> str:
        """The ClusterIP of the DNS Service: the tenth of the range."""
        return str(ip_network(self.service_cidr)[10])

    @property
    def server(self) -> str:
        """The URL by which this machine's own components and user reach the API server."""
        return f"https://127.0.0.1:{self.secure_port}"


def load(paths: Paths) -> Settings | None:
    """The settings of the cluster whose data is there; None if there is none. Raises Fatal if they cannot be read."""
    try:
        text = paths.settings.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Fatal(f"{paths.settings} cannot be read ({reason}): correct that, or give another --directory") from error
    try:
        values: dict[str, Any] = json.loads(text)
        return Settings(**values)
    except (ValueError, TypeError) as error:
        raise Fatal(
            f"{paths.settings} is damaged ({error}); correct it, or remove it to use the default settings again"
        ) from error


def save(paths: Paths, settings: Settings) -> None:
    temporary = paths.settings.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(settings), indent=2) + "\n")
    temporary.replace(paths.settings)


def changed(settings: Settings, **given: Any) -> Settings:
    """`settings` with the values that are not None."""
    return replace(settings, **{name: value for name, value in given.items() if value is not None})
