"""Addresses, networks and URLs of expressions. Source: apiserver `cel/library/{ip,cidr,urls}.go`."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import parse_qs, quote, unquote, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_NO_NETWORK = "network address parse error during conversion from string: "
_is_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*").fullmatch


def parse_ip(text: str) -> Address:
    """Raises ValueError, also for zones and IPv4-mapped IPv6 addresses."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        why = f'ParseAddr("{text}"): {_address_fault(text)}'
        raise ValueError(f'IP Address "{text}" parse error during conversion from string: {why}') from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            raise ValueError(f'IP address "{text}" with zone value is not allowed')
        if address.ipv4_mapped is not None:
            raise ValueError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return address


def _address_fault(text: str) -> str:
    """Why a text is no address, as Go's `net/netip` says it."""
    if ":" in text:
        return (
            "unable to parse IP"
            if "." in text.partition(":")[0]
            else "each colon-separated field must have at least one digit"
        )
    if "." not in text:
        return "unable to parse IP"
    parts = text.split(".")
    for position, part in enumerate(parts):
        if not part:
            return f'IPv4 field must have at least one digit (at "{".".join(parts[position:])}")'
        if not (part.isascii() and part.isdigit()):
            wrong = next(index for index, letter in enumerate(part) if not (letter.isascii() and letter.isdigit()))
            rest = ".".join([part[wrong:], *parts[position + 1 :]])
            return f'unexpected character (at "{rest}")'
        if len(part) > 1 and part.startswith("0"):
            return "IPv4 field has octet with leading zero"
        if int(part) > 255:
            return "IPv4 field has value >255"
    return "IPv4 address too short" if len(parts) < 4 else "IPv4 address too long"


def parse_cidr(text: str) -> Network:
    """Raises ValueError."""
    address, slash, bits = text.partition("/")
    if not slash or not bits.isdigit() or (bits != "0" and bits.startswith("0")):
        why = "bad bits after slash: " + f'"{bits}"' if slash else "no '/'"
        raise ValueError(f'{_NO_NETWORK}{_NO_NETWORK}netip.ParsePrefix("{text}"): {why}')
    try:
        network = ipaddress.ip_interface(f"{parse_ip(address)}/{bits}")
    except ValueError as error:
        raise ValueError(f"{_NO_NETWORK}{error}") from None
    return network


def contains_cidr(outer: Network, inner: Network) -> bool:
    if outer.version != inner.version:
        return False
    return outer.network.prefixlen <= inner.network.prefixlen and inner.ip in outer.network


def masked(network: Network) -> str:
    return str(network.network)


def is_link_local_multicast(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address in ipaddress.IPv4Network("224.0.0.0/24")
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 0x02


def is_global_unicast(address: Address) -> bool:
    """As Go's: anything that is no special address; private addresses count."""
    is_broadcast = address == ipaddress.IPv4Address("255.255.255.255")
    special = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not special and not is_broadcast


class Url:
    """A URL that is absolute, or an absolute path. Raises ValueError."""

    def __init__(self, text: str) -> None:
        if not text:
            raise ValueError('URL parse error during conversion from string: parse "": empty url')
        if any(character <= " " or character == "\x7f" for character in text):
            raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
        scheme, colon, _ = text.partition(":")
        if not text.startswith("/") and not (colon and _is_scheme(scheme)):
            raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ValueError(f'URL parse error during conversion from string: parse "{text}": {error}') from None
        self.scheme = parts.scheme
        self.host = parts.netloc.rpartition("@")[2]
        self.hostname = self.host.rpartition(":")[0] if port is not None else self.host.removesuffix(":")
        self.hostname = self.hostname.removeprefix("[").removesuffix("]")
        self.port = "" if port is None else str(port)
        self.escaped_path = quote(unquote(parts.path), safe="/:@!$&'()*+,;=~")
        self.query: dict[str, list[str]] = parse_qs(parts.query, keep_blank_values=True)
