"""Resource lists as exact amounts. Source: apiserver `pkg/quota/v1/resources.go`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pilothouse.api.quantity import Quantity, parse

Amounts = Mapping[str, Quantity]


def read(resources: Mapping[str, Any] | None) -> dict[str, Quantity]:
    """The amounts of a resource list. Raises ValueError."""
    return {name: parse(str(value)) for name, value in (resources or {}).items()}


def written(amounts: Amounts) -> dict[str, str]:
    return {name: str(amounts[name]) for name in sorted(amounts)}


def shown(amounts: Amounts) -> str:
    """`cpu=1,pods=2`."""
    return ",".join(f"{name}={amounts[name]}" for name in sorted(amounts))


def add(one: Amounts, other: Amounts) -> dict[str, Quantity]:
    total = dict(one)
    for name, amount in other.items():
        total[name] = total[name] + amount if name in total else amount
    return total


def grown(new: Amounts, old: Amounts) -> dict[str, Quantity]:
    """By how much each amount grew; nothing for what shrank."""
    zero = Quantity(0)
    return {name: max(amount - old.get(name, zero), zero) for name, amount in new.items()}


def without_zeros(amounts: Amounts) -> dict[str, Quantity]:
    return {name: amount for name, amount in amounts.items() if amount}


def masked(amounts: Amounts, names: Collection[str]) -> dict[str, Quantity]:
    return {name: amount for name, amount in amounts.items() if name in names}


def total(lists: Iterable[Amounts]) -> dict[str, Quantity]:
    found: dict[str, Quantity] = {}
    for each in lists:
        found = add(found, each)
    return found
