"""Checks of single values: numbers, names, enumerations, addresses, paths of files."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from pilothouse.api import names, quantity
from pilothouse.api.names import Messages, Rule
from pilothouse.api.path import FieldError, Path, invalid, not_supported, required
from pilothouse.kit.remembered import remembered

Errors = list[FieldError]
Part = Mapping[str, Any]

IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"
NOT_POSITIVE = "must be greater than zero"
NOT_WHOLE = "must be an integer"
FILE_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_BAD_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_BAD_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def check_name(rule: Callable[[Any], Messages], value: Any, path: Path, errors: Errors) -> None:
    """`value` must obey `rule`, one of those in `api.names`."""
    for message in rule(value):
        errors.append(invalid(path, value, message))


def check_required_name(rule: Rule, part: Part, field: str, path: Path, errors: Errors) -> None:
    """The field must be there and obey `rule`."""
    value = part.get(field, "")
    if not value:
        errors.append(required(path.child(field)))
    elif messages := rule(value):
        errors.extend(invalid(path.child(field), value, message) for message in messages)


def check_present(part: Part, field: str, path: Path, errors: Errors, detail: str = "") -> bool:
    """The field must be there and not empty; says whether it is."""
    if part.get(field):
        return True
    errors.append(required(path.child(field), detail))
    return False


def check_choice(value: Any, allowed: Iterable[str], path: Path, errors: Errors) -> None:
    if value not in allowed:
        errors.append(not_supported(path, value, allowed))


def check_required_choice(part: Part, field: str, allowed: Collection[str], path: Path, errors: Errors) -> None:
    value = part.get(field, "")
    if value in allowed:
        return
    if not value:
        errors.append(required(path.child(field)))
    else:
        errors.append(not_supported(path.child(field), value, allowed))


def check_not_negative(part: Part, field: str, path: Path, errors: Errors) -> None:
    value = part.get(field)
    if value is not None and value < 0:
        errors.append(invalid(path.child(field), value, NOT_NEGATIVE))


def check_positive(part: Part, field: str, path: Path, errors: Errors) -> None:
    """The field, zero if absent, must be greater than zero."""
    value = part.get(field, 0)
    if value <= 0:
        errors.append(invalid(path.child(field), value, NOT_POSITIVE))


def check_immutable(new: Any, old: Any, path: Path, errors: Errors) -> None:
    if new != old:
        errors.append(invalid(path, new, IMMUTABLE))


def check_immutable_field(new: Part, old: Part, field: str, path: Path, errors: Errors) -> None:
    if new.get(field) != old.get(field):
        errors.append(invalid(path.child(field), new.get(field), IMMUTABLE))


def check_not_negative_quantity(value: Any, path: Path, errors: Errors) -> None:
    if quantity.to_milli(value) < 0:
        errors.append(invalid(path, str(value), NOT_NEGATIVE))


def check_port_or_name(value: int | str, path: Path, errors: Errors) -> None:
    messages = names.port_name(value) if isinstance(value, str) else names.port_number(value)
    for message in messages:
        errors.append(invalid(path, value, message))


def check_file_mode(part: Part, field: str, path: Path, errors: Errors) -> None:
    mode = part.get(field)
    if mode is not None and not 0 <= mode <= 0o777:
        errors.append(invalid(path.child(field), mode, FILE_MODE))


def check_no_steps_back(value: str, path: Path, errors: Errors) -> None:
    if ".." in value and ".." in value.split("/"):
        errors.append(invalid(path, value, "must not contain '..'"))


def check_descending_path(value: str, path: Path, errors: Errors) -> None:
    """A relative path that stays below where it starts."""
    if value.startswith("/"):
        errors.append(invalid(path, value, "must be a relative path"))
    check_no_steps_back(value, path, errors)


def check_unreserved_path(value: str, path: Path, errors: Errors) -> None:
    """A descending path that does not start with the `..` that volumes keep for themselves."""
    check_descending_path(value, path, errors)
    if value.startswith("..") and not value.startswith("../"):
        errors.append(invalid(path, value, "must not start with '..'"))


@remembered(1024)
def parse_address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, also with leading zeros in the parts of an IPv4 address; None if it is none."""
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        parts = value.split(".")
        if len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts):
            return None
        numbers = [int(part) for part in parts]
        return ipaddress.IPv4Address(bytes(numbers)) if max(numbers) < 256 else None


def check_address(value: str, path: Path, errors: Errors, kept: Collection[str] = ()) -> None:
    """An IP address as older fields take it: it need not be canonical. `kept` stood there before and stays allowed."""
    if value not in kept and (fault := _address_fault(value)):
        errors.append(invalid(path, value, fault))


@remembered(1024)
def _address_fault(value: str) -> str:
    """What is wrong with an address as older fields take it; empty if nothing."""
    address = None if "%" in value else parse_address(value)
    if address is None:
        return _BAD_ADDRESS
    if "." in value and ":" not in value and value != str(address):
        return "must not have leading 0s"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return "must not be an IPv4-mapped IPv6 address"
    return ""


def check_canonical_address(value: str, path: Path, errors: Errors) -> None:
    """An IP address in its canonical form."""
    count = len(errors)
    check_address(value, path, errors)
    if len(errors) == count and value != str(address := ipaddress.ip_address(value)):
        errors.append(invalid(path, value, f'must be in canonical form ("{address}")'))


def check_cidr(value: str, path: Path, errors: Errors, kept: Collection[str] = ()) -> None:
    """A subnet as older fields take it. `kept` stood there before and stays allowed."""
    if value in kept:
        return
    host, separator, bits = value.partition("/")
    address = None if "%" in host else parse_address(host)
    if not separator or address is None or not bits.isdigit() or int(bits) > address.max_prefixlen:
        errors.append(invalid(path, value, _BAD_CIDR))
        return
    network = ipaddress.ip_network(f"{address}/{int(bits)}", strict=False)
    if (":" not in host and host != str(address)) or bits != str(int(bits)):
        errors.append(invalid(path, value, "must not have leading 0s in IP or prefix length"))
    elif isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        errors.append(invalid(path, value, "must not have an IPv4-mapped IPv6 address"))
    elif network.network_address != address:
        errors.append(invalid(path, value, "must not have bits set beyond the prefix length"))


def check_canonical_cidr(value: str, path: Path, errors: Errors) -> None:
    """A subnet in its canonical form."""
    count = len(errors)
    check_cidr(value, path, errors)
    if len(errors) == count and value != str(network := ipaddress.ip_network(value)):
        errors.append(invalid(path, value, f'must be in canonical form ("{network}")'))


def check_int_or_percent(value: int | str, path: Path, errors: Errors) -> None:
    """A number that is not negative, or a percentage."""
    if isinstance(value, str):
        check_name(names.percent, value, path, errors)
    elif value < 0:
        errors.append(invalid(path, value, NOT_NEGATIVE))


def percent_of(value: int | str) -> int | None:
    """The number before the `%` of a valid percentage, None for anything else."""
    return int(value[:-1]) if isinstance(value, str) and not names.percent(value) else None


def check_not_over_100_percent(value: int | str, path: Path, errors: Errors) -> None:
    share = percent_of(value)
    if share is not None and share > 100:
        errors.append(invalid(path, value, "must not be greater than 100%"))


def check_domain_prefixed_path(value: str, path: Path, errors: Errors) -> None:
    """A domain and a path, such as `example.com/controller`."""
    if not value:
        errors.append(required(path))
        return
    domain, separator, rest = value.partition("/")
    if not separator or not domain or not rest:
        errors.append(invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")'))
        return
    check_name(names.dns_subdomain, domain, path, errors)
    check_name(names.http_path, rest, path, errors)
