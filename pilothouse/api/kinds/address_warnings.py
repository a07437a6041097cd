"""Warnings of addresses and subnets that are not written as they should be. Source: apimachinery `pkg/util/validation/ip.go`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator


def of_address(value: str, path: str) -> Iterator[str]:
    """Of an address, which has been validated."""
    if ":" not in value and not any(part.startswith("0") and part != "0" for part in value.split(".")):
        return
    from pilothouse.api.validate.values import parse_address

    address = parse_address(value)
    if address is None:
        return
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else address
    if mapped is not None:
        yield f'{path}: non-standard IP address "{value}" is invalid: use "{mapped}"'
    elif str(address) != value:
        yield f'{path}: IPv6 address "{value}" should be in RFC 5952 canonical format ("{address}")'


def of_subnet(value: str, path: str) -> Iterator[str]:
    """Of a subnet, which has been validated."""
    from pilothouse.api.validate.values import parse_address

    host, _, bits = value.partition("/")
    address = parse_address(host)
    if address is None or not bits.isdigit() or int(bits) > address.max_prefixlen:
        return
    network = ipaddress.ip_network(f"{address}/{int(bits)}", strict=False)
    is_fine = True
    if network.network_address != address:
        single = f"{address}/{address.max_prefixlen}"
        yield f'{path}: CIDR value "{value}" is ambiguous in this context (should be "{network}" or "{single}"?)'
        is_fine = False
    is_mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    if is_mapped or bits != str(int(bits)) or (":" not in host and host != str(address)):
        yield f'{path}: non-standard CIDR value "{value}" is invalid: use "{network}"'
        is_fine = False
    if is_fine and ":" in host and str(network) != value:
        yield f'{path}: IPv6 CIDR value "{value}" should be in RFC 5952 canonical format ("{network}")'
