"""What a definition may be called, and its conditions. Pure.

The first definition of a group to claim a name has it; another that wants it waits until it is free.
Source: apiextensions-apiserver `pkg/controller/{status,establish,apiapproval}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api.meta import Object, format_time
from pilothouse.api.structural import approval

View = Mapping[str, Any]
_RESOURCE_NAMES = (("plural", "PluralConflict"), ("singular", "SingularConflict"))
_KIND_NAMES = (("kind", "KindConflict"), ("listKind", "ListKindConflict"))


def find_condition(definition: View, type_: str) -> View | None:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == type_), None)


def is_true(definition: View, type_: str) -> bool:
    found = find_condition(definition, type_)
    return found is not None and found.get("status") == "True"


def set_condition(definition: Object, type_: str, status: str, reason: str, message: str, now: str) -> None:
    """`now` is a time as objects have it; it counts where the status changes."""
    conditions = definition.setdefault("status", {}).get("conditions") or []
    new = {"type": type_, "status": status, "lastTransitionTime": now, "reason": reason, "message": message}
    old = find_condition(definition, type_)
    if old is not None and old.get("status") == status and old.get("lastTransitionTime"):
        new["lastTransitionTime"] = old["lastTransitionTime"]
    if old is None:
        definition["status"]["conditions"] = [*conditions, new]
    else:
        definition["status"]["conditions"] = [new if each is old else each for each in conditions]


def settled(definition: Object, others: Iterable[View], now: float) -> Object:
    """The definition with the names it may have and its conditions, given the other definitions of its group. A new object."""
    spec = definition["spec"]
    draft: Object = {**definition, "status": dict(definition.get("status") or {})}
    moment = format_time(now)
    accepted = dict(draft["status"].get("acceptedNames") or {})
    if accepted != spec["names"] or find_condition(draft, "NamesAccepted") is None:
        accepted, conflict = accept_names(spec["names"], accepted, others)
        draft["status"]["acceptedNames"] = accepted
        if conflict is None:
            set_condition(draft, "NamesAccepted", "True", "NoConflicts", "no conflicts found", moment)
        else:
            set_condition(draft, "NamesAccepted", "False", *conflict, moment)
            if not is_true(draft, "Established"):
                set_condition(draft, "Established", "False", "NotAccepted", "not all names are accepted", moment)
    if is_true(draft, "NamesAccepted") and not is_true(draft, "Established"):
        set_condition(
            draft, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted", moment
        )
    if approval.is_protected(spec.get("group", "")):
        wanted = approval.judge(draft)
        old = find_condition(draft, "KubernetesAPIApprovalPolicyConformant") or {}
        if (old.get("status"), old.get("reason"), old.get("message")) != wanted:
            set_condition(draft, "KubernetesAPIApprovalPolicyConformant", *wanted, moment)
    return draft


def accept_names(wanted: View, accepted: View, others: Iterable[View]) -> tuple[Object, tuple[str, str] | None]:
    """The names a definition has from now on, and the reason and message of the last conflict."""
    resources, kinds = _taken(others)
    names: Object = {"kind": "", "plural": "", **accepted}
    conflict: tuple[str, str] | None = None
    for taken, pairs in ((resources, _RESOURCE_NAMES), (kinds, _KIND_NAMES)):
        for key, reason in pairs:
            name = wanted.get(key, "")
            if name != accepted.get(key) and name in taken:
                conflict = reason, f'"{name}" is already in use'
            elif name:
                names[key] = name
        if taken is resources:
            own = accepted.get("shortNames") or ()
            clashes = [name for name in wanted.get("shortNames") or () if name not in own and name in resources]
            if clashes:
                conflict = "ShortNamesConflict", _aggregate([f'"{name}" is already in use' for name in clashes])
            else:
                _assign(names, "shortNames", wanted)
    _assign(names, "categories", wanted)
    return names, conflict


def _assign(names: Object, key: str, wanted: View) -> None:
    if wanted.get(key):
        names[key] = list(wanted[key])
    else:
        names.pop(key, None)


def _aggregate(messages: Sequence[str]) -> str:
    return messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"


def _taken(others: Iterable[View]) -> tuple[set[str], set[str]]:
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        names = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {names.get("plural", ""), names.get("singular", ""), *(names.get("shortNames") or ())}
        kinds |= {names.get("kind", ""), names.get("listKind", "")}
    return resources - {""}, kinds - {""}
