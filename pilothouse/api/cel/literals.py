"""Mistakes in what an expression writes out: durations, moments and patterns that are none, lists and maps of several types.

The compiler here lets them pass, where upstream's refuses them. Source: apiserver `cel/environment/base.go` (`cel.ASTValidators`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cache
from typing import Any

from pilothouse.api.cel.ast import Call, Comprehension, List, Literal, Node, Struct, Type, walk

_is_duration = re.compile(r"[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)").fullmatch
_ANY = frozenset({"dyn", "parameter", "wrapper", "optional"})


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text.upper()).tzinfo is not None and len(text) > len("2006-01-02")
    except ValueError:
        return False


@cache
def _matcher() -> Any:
    from cel_expr_python import cel

    return cel.NewEnv(variables={"pattern": cel.Type.STRING}).compile("''.matches(pattern)")


def _is_pattern(text: str) -> bool:
    """As the engine sees it that will match."""
    return str(_matcher().eval(data={"pattern": text}).type()) != "ERROR"


_CHECKS: dict[str, Callable[[str], object]] = {
    "duration": _is_duration,
    "timestamp": _is_moment,
    "matches": _is_pattern,
}


def literal_mistakes(tree: Node, *, mixes: bool = False) -> Iterator[tuple[int, str]]:
    """Positions in the text, and what is wrong there; with `mixes` lists and maps may hold values of several types."""
    for node in walk(tree):
        match node:
            case Call() if node.function in _CHECKS and node.arguments:
                # The pattern is the last argument, of the method and of the function.
                argument = node.arguments[-1]
                text = argument.value if isinstance(argument, Literal) and argument.kind == "string" else None
                if text is not None and not _CHECKS[node.function](text):
                    yield argument.offset, f"invalid {node.function} argument"
            case List() if not mixes:
                yield from _mixed(node.items)
            case Struct() if not node.message and not mixes:
                yield from _mixed(key for key, _ in node.entries if key is not None)
                yield from _mixed(value for _, value in node.entries)
            case Comprehension() if binds(node):
                yield node.offset, "undeclared reference to 'cel' (in container '')"


def binds(node: Node) -> bool:
    """Whether a node is `cel.bind`, which Kubernetes does not offer."""
    if not isinstance(node, Comprehension) or not isinstance(node.range, List) or node.range.items:
        return False
    is_false = isinstance(node.condition, Literal) and node.condition.value is False
    return is_false and not node.accumulator.startswith(("@", "__"))


def _mixed(nodes: Iterable[Node]) -> Iterator[tuple[int, str]]:
    expected: Type | None = None
    for node in nodes:
        if node.type.name in _ANY or (node.type.of and any(each.name in _ANY for each in node.type.of)):
            continue
        if expected is None:
            expected = node.type
        elif not _agree(expected, node.type):
            yield node.offset, f"expected type '{_shown(expected)}' but found '{_shown(node.type)}'"


def _agree(one: Type, two: Type) -> bool:
    return one == two or "null" in (one.name, two.name)


def _shown(type_: Type) -> str:
    if type_.message:
        return type_.message
    return f"{type_.name}({', '.join(map(_shown, type_.of))})" if type_.of else type_.name
