"""Command-line flags of the components, under upstream's names.

A component declares the flags that it honours; any other is refused by name, as is a value that does not parse. Flags are read the way
upstream's parser does: `--name=value` or `--name value`, and a bare `--name` means true for a boolean one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


class FlagError(Exception):
    """The command line cannot be used; the message says which flag and why."""


class HelpRequested(Exception):
    """`--help` was given; the message is the help text."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. `parse` raises ValueError with a reason; a `repeated` flag collects every value that it is given."""

    name: str
    default: Any
    help: str
    parse: Callable[[str], Any] = str
    repeated: bool = False

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")

    @property
    def is_boolean(self) -> bool:
        return self.parse is boolean


class Values:
    """The value of every declared flag, as attributes: `values.secure_port` for `--secure-port`."""

    def __init__(self, values: dict[str, Any], given: frozenset[str]) -> None:
        self._values = values
        self._given = given

    def __getattr__(self, field: str) -> Any:
        try:
            return self._values[field]
        except KeyError:
            raise AttributeError(field) from None

    def is_given(self, name: str) -> bool:
        """Whether the command line names the flag."""
        return name in self._given


def parse(component: str, flags: Sequence[Flag], arguments: Sequence[str]) -> Values:
    """The flags' values. Raises FlagError, HelpRequested."""
    by_name = {flag.name: flag for flag in flags}
    values: dict[str, Any] = {flag.field: [] if flag.repeated else flag.default for flag in flags}
    given: set[str] = set()
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument in ("-h", "--help"):
            raise HelpRequested(usage(component, flags))
        if argument == "-v" or argument.startswith("-v="):
            argument = "-" + argument
        if not argument.startswith("--"):
            raise FlagError(
                f"pilothouse {component} takes flags only, not {argument!r}; see pilothouse {component} --help"
            )
        name, has_value, text = argument[2:].partition("=")
        flag = by_name.get(name) or by_name.get(name.replace("_", "-"))
        if flag is None:
            raise FlagError(f"unknown flag: --{name}; see pilothouse {component} --help for those that are honoured")
        if not has_value:
            if flag.is_boolean:
                text = "true"
            elif rest:
                text = rest.pop(0)
            else:
                raise FlagError(f"flag needs an argument: --{name}")
        try:
            value = flag.parse(text)
        except ValueError as error:
            raise FlagError(f'invalid argument "{text}" for "--{name}": {error}') from error
        if flag.repeated:
            values[flag.field].append(value)
        else:
            values[flag.field] = value
        given.add(flag.name)
    for flag in flags:
        if flag.repeated and flag.name not in given:
            values[flag.field] = list(flag.default or ())
    return Values(values, frozenset(given))


def usage(component: str, flags: Sequence[Flag]) -> str:
    """The help text of a component."""
    lines = [f"Usage: pilothouse {component} [flags]", "", "Flags:"]
    for flag in flags:
        default = "" if flag.default in ("", None, [], ()) else f" (default {_text(flag.default)})"
        lines.append(f"      --{flag.name:<38} {flag.help}{default}")
    return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


# Value types


def boolean(text: str) -> bool:
    if text.lower() in ("true", "t", "1"):
        return True
    if text.lower() in ("false", "f", "0"):
        return False
    raise ValueError("must be true or false")


def integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("must be a whole number") from None


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def port(text: str) -> int:
    value = integer(text)
    if not 0 <= value <= 65535:
        raise ValueError("must be between 0 and 65535")
    return value


def duration(text: str) -> float:
    """Seconds of a Go duration such as `1m30s` or `500ms`."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
    if text == "0":
        return 0.0
    total, number, position = 0.0, "", 0
    while position < len(text):
        if text[position].isdigit() or text[position] == ".":
            number += text[position]
            position += 1
            continue
        unit = next((u for u in ("ms", "us", "µs", "ns", "h", "m", "s") if text.startswith(u, position)), None)
        if unit is None or not number:
            raise ValueError("must be a duration such as 1m30s")
        total, number, position = total + float(number) * units[unit], "", position + len(unit)
    if number or not text:
        raise ValueError("must be a duration with a unit, such as 30s")
    return total


def listed(text: str) -> tuple[str, ...]:
    """Comma-separated values."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def one_of(*choices: str) -> Callable[[str], str]:
    def parse_choice(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse_choice


def cidr(text: str) -> str:
    """An IPv4 network such as `10.96.0.0/16`."""
    import ipaddress

    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise ValueError(str(error)) from None


def ip_address(text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ValueError(str(error)) from None


def pairs(text: str) -> dict[str, str]:
    """`a=b,c=d`."""
    parsed: dict[str, str] = {}
    for part in listed(text):
        key, separator, value = part.partition("=")
        if not separator:
            raise ValueError(f"must be key=value pairs, not {part!r}")
        parsed[key] = value
    return parsed
