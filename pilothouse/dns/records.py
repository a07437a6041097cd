"""What the cluster's names mean. Pure: Services and EndpointSlices in, answers out.

Follows the Kubernetes DNS-Based Service Discovery specification 1.1.0, and CoreDNS with kubeadm's configuration where it leaves a choice:
pod names are answered from the name alone (`pods insecure`), an endpoint without a hostname is called by its address with dashes, a
headless Service without ready endpoints does not exist, all records live 30 s.

Names are lower case without the final dot. A record whose owner is empty belongs to the name that was asked for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api.meta import Object
from pilothouse.api.views import endpoint_slice
from pilothouse.api.views.endpoint_slice import EndpointSliceView
from pilothouse.api.views.service import ServiceView

SPECIFICATION_VERSION = "1.1.0"
TTL_S = 30

_ADDRESS_TYPES = {"A": "IPv4", "AAAA": "IPv6"}


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `value` is an address, a name or a text; of an SRV record it is `priority weight port target`."""

    type: str
    value: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question within the cluster's domain. Without records it is negative, and `exists` tells its two kinds apart.

    `alias` is a name outside the cluster that the asked one stands for, which is still to be looked up.
    """

    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    exists: bool = True
    alias: str = ""


NO_SUCH_NAME = Answer(exists=False)
NO_SUCH_RECORD = Answer()


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """A ready endpoint of a Service, with a port. `port_name` and `protocol` are empty and `port` is 0 if the slice has no ports."""

    name: str
    address: str
    family: str
    port_name: str
    protocol: str
    port: int


class Records:
    """The names of one cluster. `version` grows with every change that may alter an answer."""

    def __init__(self, domain: str = "cluster.local") -> None:
        self.domain = domain
        self.version = 1
        self._services: dict[str, ServiceView] = {}
        self._slices: dict[str, dict[str, EndpointSliceView]] = {}
        self._namespaces: dict[str, int] = {}
        self._services_by_ip: dict[str, str] = {}

    # Following the cluster

    def on_service(self, old: Object | None, new: Object | None) -> None:
        """A handler for an informer of Services."""
        before, after = (ServiceView(obj) if obj is not None else None for obj in (old, new))
        if before is not None and after is not None and before.spec == after.spec:
            return
        if before is not None and self._services.pop(before.key, None) is not None:
            self._count(before.namespace, -1)
            for address in before.cluster_ips:
                # The address may have gone to another Service, of which we heard first.
                if self._services_by_ip.get(address) == before.key:
                    del self._services_by_ip[address]
        if after is not None:
            self._services[after.key] = after
            self._count(after.namespace, 1)
            self._services_by_ip.update(dict.fromkeys(after.cluster_ips, after.key))
        self.version += 1

    def on_slice(self, old: Object | None, new: Object | None) -> None:
        """A handler for an informer of EndpointSlices."""
        before, after = (EndpointSliceView(obj) if obj is not None else None for obj in (old, new))
        if before is not None:
            slices = self._slices.get(before.service_key, {})
            slices.pop(before.name, None)
            if not slices:
                self._slices.pop(before.service_key, None)
        if after is not None and after.service_name:
            self._slices.setdefault(after.service_key, {})[after.name] = after
        if before is None or after is None or before.endpoints != after.endpoints or before.ports != after.ports:
            self.version += 1

    def _count(self, namespace: str, change: int) -> None:
        count = self._namespaces.get(namespace, 0) + change
        if count:
            self._namespaces[namespace] = count
        else:
            self._namespaces.pop(namespace, None)

    # Answering

    def is_ours(self, name: str) -> bool:
        """Whether the name lies in the cluster's domain."""
        return name == self.domain or name.endswith(f".{self.domain}")

    def answer(self, name: str, type: str) -> Answer | None:
        """The answer, or None if the cluster knows nothing of the name and someone else may."""
        if name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return self._reverse(name, type)
        if not self.is_ours(name):
            return None
        labels = name.removesuffix(self.domain).rstrip(".").split(".")
        match labels[::-1]:
            case [""]:
                return self._apex(type)
            case ["dns-version"]:
                return _one(type, "TXT", SPECIFICATION_VERSION)
            case ["dns"]:
                return NO_SUCH_RECORD
            case ["dns", "ns"]:
                return self._server(type)
            case ["svc"] | ["pod"]:
                return NO_SUCH_RECORD
            case ["svc" | "pod", namespace]:
                return NO_SUCH_RECORD if namespace in self._namespaces else NO_SUCH_NAME
            case ["pod", _, dashed]:
                return _pod(dashed, type)
            case ["svc", namespace, service]:
                return self._service(f"{namespace}/{service}", type)
            case ["svc", namespace, service, endpoint] if not endpoint.startswith("_"):
                return self._endpoint(f"{namespace}/{service}", endpoint, type)
            case ["svc", namespace, service, protocol, port] if port.startswith("_") and protocol.startswith("_"):
                return self._named_port(f"{namespace}/{service}", port[1:], protocol[1:], type)
        return NO_SUCH_NAME

    def start_of_authority(self) -> str:
        """The SOA record that goes with negative answers, as zone files write it."""
        return f"ns.dns.{self.domain}. hostmaster.{self.domain}. {self.version} 7200 1800 86400 {TTL_S}"

    def _apex(self, type: str) -> Answer:
        if type == "SOA":
            return Answer((Record("SOA", self.start_of_authority()),))
        return _one(type, "NS", f"ns.dns.{self.domain}")

    def _server(self, type: str) -> Answer:
        service = self._services.get("kube-system/kube-dns")
        return _addresses(service.cluster_ips if service else (), type)

    def _service(self, key: str, type: str) -> Answer:
        service = self._services.get(key)
        if service is None:
            return NO_SUCH_NAME
        if service.type == "ExternalName":
            return self._alias(service)
        if service.is_headless:
            endpoints = self._endpoints(key)
            return self._about_endpoints(service, endpoints, type) if endpoints else NO_SUCH_NAME
        if type == "SRV":
            return self._service_ports(service, service.ports)
        return _addresses(service.cluster_ips, type)

    def _endpoint(self, key: str, endpoint: str, type: str) -> Answer:
        service = self._services.get(key)
        found = [one for one in self._endpoints(key) if one.name == endpoint]
        return self._about_endpoints(service, found, type) if service and found else NO_SUCH_NAME

    def _named_port(self, key: str, port: str, protocol: str, type: str) -> Answer:
        service = self._services.get(key)
        if service is None or service.type == "ExternalName":
            return NO_SUCH_NAME
        if service.is_headless:
            found = [one for one in self._endpoints(key) if (one.port_name, one.protocol) == (port, protocol)]
            return self._about_endpoints(service, found, type) if found else NO_SUCH_NAME
        ports = [one for one in service.ports if (one.get("name", ""), _protocol(one)) == (port, protocol)]
        if not ports:
            return NO_SUCH_NAME
        return self._service_ports(service, ports) if type == "SRV" else _addresses(service.cluster_ips, type)

    def _alias(self, service: ServiceView) -> Answer:
        target = service.external_name.rstrip(".").lower()
        try:
            address = ipaddress.ip_address(target)
        except ValueError:
            return Answer((Record("CNAME", target),), alias=target)
        return Answer((Record("A" if address.version == 4 else "AAAA", str(address)),))

    def _service_ports(self, service: ServiceView, ports: Sequence[Mapping[str, Any]]) -> Answer:
        target = self._name_of(service)
        named = [port for port in ports if port.get("name") or len(service.ports) == 1]
        weight = 100 // max(len(named), 1)
        records = tuple(Record("SRV", f"0 {weight} {port['port']} {target}") for port in named)
        return Answer(records, tuple(_address_records(service.cluster_ips, target)))

    def _about_endpoints(self, service: ServiceView, endpoints: Sequence[_Endpoint], type: str) -> Answer:
        if type != "SRV":
            family = _ADDRESS_TYPES.get(type)
            addresses = dict.fromkeys(one.address for one in endpoints if one.family == family)
            return Answer(tuple(Record(type, address) for address in addresses))
        with_port = [one for one in endpoints if one.port]
        weight = max(100 // max(len(with_port), 1), 1)
        base = self._name_of(service)
        records = dict.fromkeys(Record("SRV", f"0 {weight} {one.port} {one.name}.{base}") for one in with_port)
        additional = dict.fromkeys(
            record for one in with_port for record in _address_records([one.address], f"{one.name}.{base}")
        )
        return Answer(tuple(records), tuple(additional))

    def _endpoints(self, key: str) -> list[_Endpoint]:
        """The ready endpoints, each once a port."""
        found: list[_Endpoint] = []
        for one in self._slices.get(key, {}).values():
            if one.address_type in _ADDRESS_TYPES.values():
                found += _endpoints_of(one)
        return list(dict.fromkeys(found))

    def _reverse(self, name: str, type: str) -> Answer | None:
        address = _reversed_address(name)
        if address is None:
            return None
        key = self._services_by_ip.get(address)
        names = [self._name_of(self._services[key])] if key else list(self._endpoint_names(address))
        if not names:
            return None
        return Answer(tuple(Record("PTR", one) for one in names)) if type == "PTR" else NO_SUCH_RECORD

    def _endpoint_names(self, address: str) -> Iterator[str]:
        """The names under which headless Services know an address."""
        for key, slices in self._slices.items():
            service = self._services.get(key)
            if service is None or not service.is_headless:
                continue
            for one in slices.values():
                for endpoint in one.endpoints:
                    if address in (endpoint.get("addresses") or ())[:1] and endpoint_slice.is_ready(endpoint):
                        yield f"{_endpoint_name(endpoint)}.{self._name_of(service)}"

    def _name_of(self, service: ServiceView) -> str:
        return f"{service.name}.{service.namespace}.svc.{self.domain}"


def _one(asked: str, type: str, value: str) -> Answer:
    """A name that has a single record."""
    return Answer((Record(type, value),)) if asked == type else NO_SUCH_RECORD


def _addresses(addresses: Iterable[str], type: str) -> Answer:
    return Answer(tuple(record for record in _address_records(addresses) if record.type == type))


def _address_records(addresses: Iterable[str], owner: str = "") -> Iterator[Record]:
    for address in addresses:
        yield Record("AAAA" if ":" in address else "A", address, owner)


def _pod(dashed: str, type: str) -> Answer:
    for text in (dashed.replace("-", "."), dashed.replace("-", ":")):
        try:
            return _addresses([str(ipaddress.ip_address(text))], type)
        except ValueError:
            continue
    return NO_SUCH_NAME


def _endpoints_of(one: EndpointSliceView) -> Iterator[_Endpoint]:
    ports = [(port.get("name") or "", _protocol(port), int(port.get("port") or 0)) for port in one.ports]
    for endpoint in one.endpoints:
        if endpoint_slice.is_ready(endpoint) and endpoint.get("addresses"):
            name, address = _endpoint_name(endpoint), endpoint["addresses"][0]
            for port_name, protocol, port in ports or [("", "", 0)]:
                yield _Endpoint(name, address, one.address_type, port_name, protocol, port)


def _endpoint_name(endpoint: Mapping[str, Any]) -> str:
    hostname = endpoint.get("hostname")
    return str(hostname) if hostname else str(endpoint["addresses"][0]).replace(".", "-").replace(":", "-")


def _protocol(port: Mapping[str, Any]) -> str:
    return str(port.get("protocol") or "TCP").lower()


def _reversed_address(name: str) -> str | None:
    try:
        if name.endswith(".in-addr.arpa"):
            return str(ipaddress.IPv4Address(".".join(name.removesuffix(".in-addr.arpa").split(".")[::-1])))
        digits = "".join(name.removesuffix(".ip6.arpa").split(".")[::-1])
        return str(ipaddress.IPv6Address(bytes.fromhex(digits)))
    except ValueError:
        return None
