"""Aggregated ClusterRoles: roles whose rules are those of all the roles their selectors match. Pure.

Source: `pkg/controller/clusterroleaggregation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api import selector
from pilothouse.api.meta import Object, labels_of, name_of


def updates(roles: Iterable[Mapping[str, Any]]) -> list[Object]:
    """The aggregated roles whose rules are out of date, with the rules they should have.

    A role that another one aggregates may itself be aggregated, so the answer is computed until nothing changes.
    """
    by_name = {name_of(role): role for role in roles}
    changed: dict[str, Object] = {}
    for _ in range(len(by_name)):
        changes = {
            name: {**role, "rules": rules}
            for name, role in by_name.items()
            if (rules := aggregated(role, by_name.values())) is not None and rules != (role.get("rules") or [])
        }
        if not changes:
            break
        by_name.update(changes)
        changed.update(changes)
    return list(changed.values())


def aggregated(role: Mapping[str, Any], roles: Iterable[Mapping[str, Any]]) -> list[Object] | None:
    """The rules of an aggregated role, each once, by the order of the names they come from; None if it aggregates nothing."""
    selectors: Sequence[Mapping[str, Any]] = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
    if not selectors:
        return None
    rules: list[Object] = []
    for wanted in selectors:
        matcher = selector.from_object(wanted)
        for other in sorted(roles, key=name_of):
            if name_of(other) == name_of(role) or not matcher.matches(labels_of(other)):
                continue
            rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return rules
