"""The parts that tables of several kinds are made of. Source: upstream `pkg/printers/internalversion`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api import duration
from pilothouse.api.resource import Column
from pilothouse.api.status import StatusError

View = Mapping[str, Any]
NONE, UNSET, UNKNOWN = "<none>", "<unset>", "<unknown>"


def at(obj: View, *path: str) -> Any:
    """The value at a path of fields; None where there is none."""
    value: Any = obj
    for name in path:
        if not value:
            return None
        value = value.get(name)
    return value


def value_of(*path: str) -> Callable[[View], str]:
    """The value at a path as a field selector compares it."""

    def read(obj: View) -> str:
        value = at(obj, *path)
        return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    return read


def flag_of(*path: str) -> Callable[[View], str]:
    """A boolean that is false where it is not given, as a field selector compares it."""
    return lambda obj: "true" if at(obj, *path) else "false"


def text(name: str, *path: str, empty: str = "", priority: int = 0, format: str = "", description: str = "") -> Column:
    """A column of the text at a path; `empty` stands for none."""
    return Column(
        name, lambda obj, now: at(obj, *path) or empty, priority=priority, format=format, description=description
    )


def number(name: str, *path: str, description: str = "") -> Column:
    """A column of the integer at a path, 0 where there is none."""
    return Column(name, lambda obj, now: at(obj, *path) or 0, "integer", description=description)


def flag(name: str, *path: str, default: bool = False, type: str = "boolean", description: str = "") -> Column:
    def cell(obj: View, now: float) -> bool:
        value = at(obj, *path)
        return default if value is None else bool(value)

    return Column(name, cell, type, description=description)


def count(name: str, *path: str, type: str = "integer", description: str = "") -> Column:
    """A column of how many members the list or map at a path has."""
    return Column(name, lambda obj, now: len(at(obj, *path) or ()), type, description=description)


def wide(name: str, cell: Callable[[View], Any], description: str = "") -> Column:
    """A column that shows only with `-o wide`."""
    return Column(name, lambda obj, now: cell(obj), priority=1, description=description)


def _age(obj: View, now: float) -> str:
    return duration.age(obj["metadata"].get("creationTimestamp"), now)


def _name(obj: View, now: float) -> str:
    return str(obj["metadata"].get("name", ""))


NAME = Column("Name", _name, format="name", description="The object's name, unique within its namespace.")
AGE = Column("Age", _age, description="The time since the object was created.")

CREATED_AT = Column(
    "Created At",
    lambda obj, now: obj["metadata"].get("creationTimestamp", ""),
    "date",
    description="When the object was created.",
)


def is_default_class(obj: View, annotation: str) -> bool:
    return (obj["metadata"].get("annotations") or {}).get(annotation) == "true"


def joined(items: Iterable[str], *, limit: int = 3, empty: str = UNSET) -> str:
    """The first items with commas, and how many more there are."""
    listed = list(items)
    shown = ",".join(listed[:limit])
    if len(listed) > limit:
        return f"{shown} + {len(listed) - limit} more..."
    return shown or empty


def labels(values: Mapping[str, str] | None) -> str:
    """`a=b,c=d`, sorted."""
    return ",".join(f"{key}={value}" for key, value in sorted((values or {}).items())) or NONE


def label_selector(value: View | None) -> str:
    """A LabelSelector in its short form."""
    from pilothouse.api import selector

    try:
        return str(selector.from_object(value)) or NONE
    except StatusError:
        return "<error>"


def addresses(ingress: Sequence[View] | None) -> str:
    """The addresses of a load balancer, sorted."""
    return ",".join(sorted({found for entry in ingress or () if (found := entry.get("ip") or entry.get("hostname"))}))


def template_columns(
    *template: str, selector_path: tuple[str, ...] | None = ("spec", "selector")
) -> tuple[Column, ...]:
    """What `-o wide` shows of a pod template at a path: containers, images, and the selector at its path."""

    def containers(obj: View) -> Sequence[View]:
        return at(obj, *template, "spec", "containers") or ()

    columns = (
        wide(
            "Containers", lambda obj: ",".join(c.get("name", "") for c in containers(obj)), "The template's containers."
        ),
        wide("Images", lambda obj: ",".join(c.get("image", "") for c in containers(obj)), "The images they run."),
    )
    if selector_path is None:
        return columns
    shown = wide("Selector", lambda obj: label_selector(at(obj, *selector_path)), "Which pods are selected.")
    return (*columns, shown)


def subject_columns() -> tuple[Column, ...]:
    """What `-o wide` shows of a role binding: users, groups, service accounts."""

    def of_kind(kind: str) -> Callable[[View], str]:
        def cell(obj: View) -> str:
            found = [subject for subject in obj.get("subjects") or () if subject.get("kind") == kind]
            if kind == "ServiceAccount":
                return ", ".join(f"{subject.get('namespace', '')}/{subject.get('name', '')}" for subject in found)
            return ", ".join(subject.get("name", "") for subject in found)

        return cell

    return (
        wide("Users", of_kind("User"), "Users in the binding."),
        wide("Groups", of_kind("Group"), "Groups in the binding."),
        wide("ServiceAccounts", of_kind("ServiceAccount"), "Service accounts in the binding."),
    )


def role_of(obj: View, now: float) -> str:
    reference = obj.get("roleRef") or {}
    return f"{reference.get('kind', '')}/{reference.get('name', '')}"


_ACCESS_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def access_modes(modes: Sequence[str] | None) -> str:
    """`RWO,ROX`: access modes by their abbreviations."""
    return ",".join(short for mode, short in _ACCESS_MODES.items() if mode in (modes or ()))


def param_kind(obj: View, now: float) -> str:
    """The kind of an admission policy's parameters."""
    found = at(obj, "spec", "paramKind")
    return f"{found.get('apiVersion', '')}/{found.get('kind', '')}" if found else UNSET


def param_reference(obj: View, now: float) -> str:
    """The parameters that an admission policy binding names."""
    reference = at(obj, "spec", "paramRef")
    if not reference:
        return UNSET
    if name := reference.get("name"):
        return f"{reference.get('namespace') or '*'}/{name}"
    return _written_out(reference["selector"]) if "selector" in reference else UNSET


def _written_out(selector: View) -> str:
    """A LabelSelector as Go writes the struct out."""
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{one.get('key', '')},Operator:{one.get('operator', '')},"
        f"Values:[{' '.join(one.get('values') or ())}],}},"
        for one in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
