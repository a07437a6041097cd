"""The selectors that an access review asks about: whether they are valid, and what authorizers get to see of them.

Requirements that are not understood are left out, which makes the question broader, so that nothing is allowed by mistake.
Source: `pkg/registry/authorization/util/helpers.go`, `pkg/apis/authorization/validation`, KEP-4601.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from pilothouse.api import names
from pilothouse.api.field_selector import FieldRequirement, FieldSelector, parse_fields
from pilothouse.api.path import FieldError, Path, field_forbidden, invalid, required
from pilothouse.api.selector import LabelSelector, Operator, Requirement, parse_labels
from pilothouse.api.status import BadRequest

_Understood = TypeVar("_Understood")
_OPERATORS = {
    "In": Operator.IN,
    "NotIn": Operator.NOT_IN,
    "Exists": Operator.EXISTS,
    "DoesNotExist": Operator.DOES_NOT_EXIST,
}
_FIELD_OPERATORS = {"In": "=", "NotIn": "!="}


class Selected(NamedTuple):
    """A selector as text. With `is_faulty` it is not all that was asked about."""

    text: str = ""
    is_faulty: bool = False


def fields(selector: Mapping[str, Any] | None) -> Selected:
    """Of FieldSelectorAttributes."""
    return _selected(selector, _field_requirement, FieldSelector, parse_fields)


def labels(selector: Mapping[str, Any] | None) -> Selected:
    """Of LabelSelectorAttributes."""
    return _selected(selector, _label_requirement, LabelSelector, parse_labels)


def _selected(
    selector: Mapping[str, Any] | None,
    understand: Callable[[Mapping[str, Any]], _Understood | None],
    join: Callable[[list[_Understood]], object],
    parse: Callable[[str], object],
) -> Selected:
    if not selector:
        return Selected()
    if requirements := selector.get("requirements"):
        understood = [found for each in requirements if (found := understand(each)) is not None]
        return Selected(str(join(understood)), len(understood) < len(requirements))
    raw = selector.get("rawSelector", "")
    try:
        parse(raw)
    except BadRequest:
        return Selected("", True)
    return Selected(raw)


def _field_requirement(written: Mapping[str, Any]) -> FieldRequirement | None:
    operator = _FIELD_OPERATORS.get(written.get("operator", ""))
    values: list[str] = written.get("values") or []
    if operator is None or len(values) != 1:
        return None
    return FieldRequirement(written.get("key", ""), operator, values[0])


def _label_requirement(written: Mapping[str, Any]) -> Requirement | None:
    operator = _OPERATORS.get(written.get("operator", ""))
    if operator is None:
        return None
    found = Requirement(written.get("key", ""), operator, tuple(written.get("values") or ()))
    return None if found.faults(Path()) else found


def error_of(kind: str, selected: Selected) -> str:
    """What a review says of a selector that is not understood; `kind` is fieldSelector or labelSelector."""
    if not selected.is_faulty:
        return ""
    partially = "partially " if selected.text else ""
    return f"spec.resourceAttributes.{kind} {partially}ignored due to parse error"


def faults(attributes: Mapping[str, Any], path: Path) -> Iterable[FieldError]:
    """What is wrong with the selectors of ResourceAttributes, at `path`. Operators that are not known are none of it."""
    for kind in ("fieldSelector", "labelSelector"):
        selector = attributes.get(kind)
        if selector is None:
            continue
        where = path.child(kind)
        raw, requirements = selector.get("rawSelector"), selector.get("requirements")
        if raw and requirements:
            yield invalid(where.child("rawSelector"), raw, "may not specified at the same time as requirements")
        if not raw and not requirements:
            why = f"when {where} is specified, requirements or rawSelector is required"
            yield required(where.child("requirements"), why)
        for index, each in enumerate(requirements or ()):
            at = where.child("requirements").index(index)
            if kind == "fieldSelector" and not each.get("key"):
                yield required(at.child("key"), "must be specified")
            yield from _operator_faults(each.get("operator", ""), each.get("values") or (), at)
            if kind == "labelSelector":
                yield from (invalid(at.child("key"), each.get("key", ""), why) for why in names.label_key(each["key"]))
                for number, value in enumerate(each.get("values") or ()):
                    at_value = at.child("values").index(number)
                    yield from (invalid(at_value, value, why) for why in names.label_value(value))


def _operator_faults(operator: str, values: Sequence[str], at: Path) -> Iterable[FieldError]:
    if operator in ("In", "NotIn") and not values:
        yield required(at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'")
    if operator in ("Exists", "DoesNotExist") and values:
        why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        yield field_forbidden(at.child("values"), why)
