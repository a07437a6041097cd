"""The JSONPath of printer columns and selectable fields. Source: client-go `util/jsonpath`; `reference/kubectl/jsonpath`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Step = Callable[[Any], Iterator[Any]]
_NAME = re.compile(r"(?:\\.|[^.\[\]\\{}])+")
_INDEX = re.compile(r"-?\d+")
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?(?::(-?\d+))?")
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
_FILTER = re.compile(r"""\?\(\s*@((?:\.(?:\\.|[^.\s=!<>)\\])+)*)\s*(?:(==|!=|<=|>=|<|>)\s*(.+?)\s*)?\)$""")


def compile_path(path: str) -> Sequence[Step]:
    """Raises ValueError for what is not understood."""
    path = path.strip()
    if path.startswith("{") and path.endswith("}"):
        path = path[1:-1].strip()
    path = path.removeprefix("$")
    steps: list[Step] = []
    at = 0
    while at < len(path):
        if path.startswith("..", at):
            steps.append(_descendants)
            at += 1
        if path[at] == ".":
            at += 1
            if at == len(path):
                break
            if path[at] == "[":
                continue
            if path[at] == "*":
                steps.append(_all)
                at += 1
                continue
            match = _NAME.match(path, at)
            if match is None:
                raise ValueError(f"unrecognized character in path {path} at {at}")
            steps.append(_field(re.sub(r"\\(.)", r"\1", match.group())))
            at = match.end()
        elif path[at] == "[":
            end = _closing(path, at)
            steps.append(_bracket(path[at + 1 : end].strip()))
            at = end + 1
        else:
            raise ValueError(f"path {path} must begin with a dot")
    return tuple(steps)


def find(steps: Sequence[Step], obj: Any) -> list[Any]:
    """All that a path leads to; nothing where a key is missing."""
    found = [obj]
    for step in steps:
        found = [value for each in found for value in step(each)]
    return found


def _closing(path: str, at: int) -> int:
    quote = ""
    depth = 0
    for position in range(at, len(path)):
        letter = path[position]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "[":
            depth += 1
        elif letter == "]":
            depth -= 1
            if not depth:
                return position
    raise ValueError("unterminated array")


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _all(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _descendants(value: Any) -> Iterator[Any]:
    yield value
    for child in _all(value):
        yield from _descendants(child)


def _bracket(text: str) -> Step:
    if text == "*":
        return _all
    if text.startswith("?"):
        return _filter(text)
    if (match := _QUOTED.fullmatch(text)) is not None:
        return _field(re.sub(r"\\(.)", r"\1", match.group(1) or match.group(2) or ""))
    if _INDEX.fullmatch(text):
        return _slice(slice(int(text), int(text) + 1 or None))
    if (match := _SLICE.fullmatch(text)) is not None:
        return _slice(slice(*(int(part) if part else None for part in match.groups())))
    raise ValueError(f"invalid array index {text}")


def _slice(wanted: slice) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from value[wanted]

    return step


def _filter(text: str) -> Step:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise ValueError(f"unrecognized filter [{text}]")
    left = compile_path(match.group(1)) if match.group(1) else ()
    operator, right = match.group(2), match.group(3)
    wanted = None if right is None else _literal(right)

    def step(value: Any) -> Iterator[Any]:
        for item in value if isinstance(value, list) else ():
            found = find(left, item)
            if found if operator is None else found and _compare(operator, found[0], wanted):
                yield item

    return step


def _literal(text: str) -> Any:
    if (match := _QUOTED.fullmatch(text)) is not None:
        return re.sub(r"\\(.)", r"\1", match.group(1) if match.group(1) is not None else match.group(2))
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"unrecognized value {text} in filter") from None


def _compare(operator: str, left: Any, right: Any) -> bool:
    if operator == "==":
        return bool(left == right)
    if operator == "!=":
        return bool(left != right)
    if isinstance(left, str) is not isinstance(right, str) or isinstance(left, dict | list | bool | None):
        return False
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator])
