"""Where in an object a fault is, and what the fault is. Source: apimachinery `pkg/util/validation/field`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api.status import Cause, Invalid


class Path:
    """A field path such as `spec.containers[0].env[name=A]`; immutable.

    Paths cost a tenth of a microsecond each: build one for a sub-object that is there, and one for a field only when it is at fault.
    """

    __slots__ = ("text",)

    def __init__(self, text: str = "") -> None:
        self.text = text

    def child(self, *names: str) -> Path:
        joined = names[0] if len(names) == 1 else ".".join(names)
        return Path(f"{self.text}.{joined}" if self.text else joined)

    def index(self, position: int) -> Path:
        return Path(f"{self.text}[{position}]")

    def key(self, key: str) -> Path:
        return Path(f"{self.text}[{key}]")

    def __str__(self) -> str:
        return self.text or "<nil>"

    def __repr__(self) -> str:
        return f"Path({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Path) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)


class Shown:
    """A value that stands in a message as it is: `text` is how upstream writes it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shown) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


_OMIT = object()


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault of an object. `type` is the cause reason on the wire, such as `FieldValueInvalid`."""

    type: str
    path: Path
    value: Any = _OMIT
    detail: str = ""

    @property
    def body(self) -> str:
        """The message without the field path: `Invalid value: "x": must be …`."""
        text = _TITLES[self.type]
        if self.type in _SHOWS_VALUE and self.value is not _OMIT:
            text += f": {_shown(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.path}: {self.body}"

    def to_cause(self) -> Cause:
        return Cause(reason=self.type, message=self.body, field=str(self.path))


_TITLES = {
    "FieldValueNotFound": "Not found",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooShort": "Too short",
    "FieldValueTooMany": "Too many",
    "FieldValueTooFew": "Too few",
    "FieldValueTypeInvalid": "Invalid value",
    "InternalError": "Internal error",
}
_SHOWS_VALUE = {
    "FieldValueNotFound",
    "FieldValueDuplicate",
    "FieldValueInvalid",
    "FieldValueNotSupported",
    "FieldValueTypeInvalid",
    "FieldValueTooMany",
    "FieldValueTooFew",
}


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        return quoted.replace("\\u00", "\\x") if "\\u00" in quoted else quoted
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Shown):
        return value.text
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    # Go's encoder writes these so, for the sake of pages in HTML.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def shown_struct(fields: Mapping[str, Any]) -> Shown:
    """A structure of Go's, whose fields are shown in the order in which it has them."""
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    return Shown(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def required(path: Path, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", path, detail=detail)


def invalid(path: Path, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", path, value, detail)


def type_invalid(path: Path, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueTypeInvalid", path, value, detail)


def not_supported(path: Path, value: Any, supported: Iterable[str]) -> FieldError:
    """A value outside an enumeration; `supported` is shown in the order given."""
    listed = ", ".join(json.dumps(item) for item in supported)
    return FieldError("FieldValueNotSupported", path, value, f"supported values: {listed}" if listed else "")


def duplicate(path: Path, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", path, value)


def field_forbidden(path: Path, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", path, detail=detail)


def field_not_found(path: Path, value: Any) -> FieldError:
    return FieldError("FieldValueNotFound", path, value)


def too_long(path: Path, max_bytes: int) -> FieldError:
    return FieldError("FieldValueTooLong", path, detail=f"may not be more than {max_bytes} bytes")


def too_many(path: Path, actual: int, maximum: int) -> FieldError:
    return FieldError(
        "FieldValueTooMany", path, actual, f"must have at most {maximum} item{'' if maximum == 1 else 's'}"
    )


def invalid_object(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> Invalid:
    """The 422 error for an object with `errors`: `Pod "web" is invalid: [spec.…, …]`."""
    qualified = f"{kind}.{group}" if group else kind
    texts = list(dict.fromkeys(str(error) for error in errors))
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    message = f'{qualified} "{name}" is invalid: {joined}'
    return Invalid(message, group=group, kind=kind, name=name, causes=[error.to_cause() for error in errors])
