"""Configuration files in the form of API objects, read strictly: a field that is not known is an error. They are YAML or JSON.

Source: apiserver `pkg/apis/apiserver`, whose files are decoded with `serializer.EnableStrict`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pilothouse.api.meta import Object
from pilothouse.kit.clock import Clock

Shape = Any
"""`str`, `bool`, `int`, `timedelta` for durations such as `5m`; a list with the shape of its items; a dict of fields; None for anything."""

POLL_S = 1.0
RETRY_S = 60.0
_GO_NAMES = {str: "string", bool: "bool", int: "int32", timedelta: "string"}


def read(text: bytes, kind: str, versions: Mapping[str, Shape]) -> Object:
    """The object in `text`, of `kind` and one of the apiVersions `versions`, which have its fields. Raises ValueError."""
    from pilothouse.apiserver import yaml

    document, duplicates = yaml.load(text)
    if not isinstance(document, dict):
        raise ValueError("couldn't get version/kind; json parse error: the document is not an object")
    if not document.get("kind"):
        raise ValueError(f"Object 'Kind' is missing in '{text.decode(errors='replace')}'")
    if not document.get("apiVersion"):
        raise ValueError(f"Object 'apiVersion' is missing in '{text.decode(errors='replace')}'")
    shape = versions.get(document["apiVersion"])
    if shape is None or document["kind"] != kind:
        raise ValueError(f'no kind "{document["kind"]}" is registered for version "{document["apiVersion"]}" here')
    unknown: list[str] = []
    _check(document, {"kind": str, "apiVersion": str, **shape}, "", kind, unknown)
    faults = [*map(str, duplicates), *unknown]
    if faults:
        raise ValueError(f"strict decoding error: {', '.join(faults)}")
    return document


def _check(value: Any, shape: Shape, path: str, kind: str, unknown: list[str]) -> None:
    """Collects unknown fields. Raises ValueError for a value of the wrong type."""
    if value is None or shape is None:
        return
    if isinstance(shape, dict) and isinstance(value, dict):
        for key, inner in value.items():
            at = f"{path}.{key}" if path else key
            if key not in shape:
                unknown.append(f'unknown field "{at}"')
            else:
                _check(inner, shape[key], at, kind, unknown)
    elif isinstance(shape, list) and isinstance(value, list):
        for index, inner in enumerate(value):
            _check(inner, shape[0], f"{path}[{index}]", kind, unknown)
    elif shape is timedelta and isinstance(value, str):
        seconds(value)
    elif not isinstance(shape, type) or type(value) is not shape:
        found = {str: "string", bool: "bool", dict: "object", list: "array"}.get(type(value), "number")
        wanted = _GO_NAMES[shape] if isinstance(shape, type) else "slice" if isinstance(shape, list) else "struct"
        raise ValueError(f"json: cannot unmarshal {found} into Go struct field {kind}.{path} of type {wanted}")


def seconds(text: str) -> float:
    """Of a Go duration such as `1m30s`. Raises ValueError."""
    from pilothouse.api.duration import go_duration

    try:
        return go_duration(text).total_seconds()
    except ValueError:
        raise ValueError(f'time: invalid duration "{text}"') from None


class FileWatch:
    """Tells when a file has changed, also one that is a link into a directory that is exchanged."""

    def __init__(self, file: str, clock: Clock) -> None:
        self._path = Path(file)
        self._clock = clock
        self._seen = self._stamp()

    async def run(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Call `changed` soon after each change, and once a minute, until cancelled."""
        waited_s = 0.0
        while True:
            await self._clock.sleep(POLL_S)
            waited_s += POLL_S
            stamp = self._stamp()
            if stamp != self._seen or waited_s >= RETRY_S:
                self._seen, waited_s = stamp, 0.0
                await changed()

    def _stamp(self) -> Sequence[int]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino
