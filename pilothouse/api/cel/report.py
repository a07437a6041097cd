"""What a compiler has to say: where in an expression which mistake is. As cel-go writes it, with the line and a mark under the place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_find = re.compile(r"^(?:[A-Z_]+: )?ERROR: <input>:(\d+):(\d+): (.*)$", re.MULTILINE).finditer
_WORDS = (
    (
        re.compile(r"expression of type '?(\S+?)'? cannot be the range of a comprehension"),
        r"expression of type '\1' cannot be range of a comprehension",
    ),
    (
        re.compile(r"expression of type ('[^*][^']*') cannot be the operand of a select operation"),
        r"type \1 does not support field selection",
    ),
    (re.compile(r" not found in struct '[^']*'"), ""),
    (re.compile(r"\bnull_type\b"), "null"),
    (re.compile(r"\bdeclared\.T\d+\b"), "object"),
    (re.compile(r"\bgoogle\.protobuf\.Value\b"), "dyn"),
)
_find_qualified = re.compile(r"undeclared reference to '(\w+(?:\.\w+)+)'(.*)").fullmatch
_CIDR_TEXT = "found no matching overload for 'string' applied to '(net.CIDR)'"
_mixes_numbers = re.compile(
    r"found no matching overload for '_(?:<|<=|>|>=)_' applied to '\((?:int|uint|double), (?:int|uint|double)\)'"
).fullmatch


@dataclass(frozen=True, slots=True)
class Mistake:
    """`line` and `column` count from one."""

    line: int
    column: int
    text: str

    @property
    def is_none(self) -> bool:
        """Numbers of different types may be compared in Kubernetes, which the compiler here cannot be told."""
        return _mixes_numbers(self.text) is not None


def mistakes(report: str) -> list[Mistake]:
    """What the compiler's report says, in the words of cel-go. Nothing for a text that is no such report."""
    found = []
    for match in _find(report):
        text = match[3].removesuffix(" [INVALID_ARGUMENT]")
        for pattern, word in _WORDS:
            text = pattern.sub(word, text)
        column = int(match[2])
        if qualified := _find_qualified(text):
            # cel-go misses the first of several names.
            column -= len(qualified[1].rpartition(".")[0])
            text = f"undeclared reference to '{qualified[1].partition('.')[0]}'{qualified[2]}"
        found.append(Mistake(int(match[1]), column, text))
    # What only follows from another mistake is not told.
    told = [each for each in found if "'*error*'" not in each.text] or found
    return sorted(told, key=lambda each: (each.line, each.column))


def mistake_at(source: str, offset: int, text: str) -> Mistake:
    """A mistake at a position in characters; one that is not known is the beginning."""
    before = source[: max(offset, 0)]
    return Mistake(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1, text)


def cidr_texts(report: str) -> list[Mistake]:
    """Where `string` is asked of a network, if that is all that is wrong."""
    found = mistakes(report)
    return found if all(each.text == _CIDR_TEXT for each in found) else []


def renamed(source: str, places: Sequence[Mistake], old: str, new: str) -> str:
    """The source with another name for the functions whose opening brackets are at `places`."""
    lines = source.split("\n")
    for place in sorted(places, key=lambda each: -each.column):
        line, end = lines[place.line - 1], place.column - 1
        before = line[:end].rstrip()
        if before.endswith(old):
            lines[place.line - 1] = f"{before.removesuffix(old)}{new}{line[end:]}"
    return "\n".join(lines)


def render(found: Sequence[Mistake], source: str) -> str:
    """The report on the mistakes in `source`."""
    lines = source.split("\n")
    parts = []
    for each in found:
        line = lines[each.line - 1] if 0 < each.line <= len(lines) else ""
        shown = line.replace("\t", " ")
        parts.append(
            f"ERROR: <input>:{each.line}:{each.column}: {each.text}\n | {shown}\n | {'.' * (each.column - 1)}^"
        )
    return "\n".join(parts)
