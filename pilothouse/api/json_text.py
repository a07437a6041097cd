"""JSON texts that the fast decoder refuses: what is wrong with them, in upstream's words, and those that upstream takes nevertheless.

Go's decoder puts U+FFFD in the place of bytes that are no UTF-8 and of lone surrogates. Nothing here is on the way of a sound text.
Source: Go `encoding/json` (scanner.go).
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

MAX_DEPTH = 1000
_SPACE = " \t\r\n"
_LITERALS = {"t": "true", "f": "false", "n": "null"}
_is_surrogate = re.compile("[\ud800-\udfff]")
_number = re.compile(r"-?(?:0|[1-9][0-9]*)?(?:\.[0-9]*)?(?:[eE][-+]?[0-9]*)?")


class Fault(ValueError):
    """The text is not JSON; its message says why."""


def read(text: bytes) -> Any:
    """The value of any text. Raises Fault."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return decode(text)


def decode(text: bytes) -> Any:
    """The value of a text, read as leniently as upstream reads it. Raises Fault."""
    if text.startswith(b"\xef\xbb\xbf"):
        raise Fault(_unexpected("\xef", "looking for beginning of value"))
    read = text.decode(errors="replace")
    try:
        value = json.loads(read, parse_constant=_no_constant)
    except RecursionError:
        raise Fault("exceeded max depth") from None
    except ValueError:
        raise Fault(_Scanner(read).fault()) from None
    return _without_surrogates(value, 0)


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _without_surrogates(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Fault("exceeded max depth")
    if isinstance(value, str):
        return _is_surrogate.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_is_surrogate.sub("\ufffd", key): _without_surrogates(item, depth + 1) for key, item in value.items()}
    return value


def _unexpected(char: str, where: str) -> str:
    shown = {"'": r"\'", '"': '"', "\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}.get(char)
    if shown is None:
        shown = char if char.isprintable() else f"\\x{ord(char):02x}"
    return f"invalid character '{shown}' {where}"


class _Scanner:
    """Finds the first character that cannot stand where it stands."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def fault(self) -> str:
        try:
            self._value(0)
            if char := self._next():
                return _unexpected(char, "after top-level value")
        except Fault as fault:
            return str(fault)
        return "invalid JSON"

    def _next(self) -> str:
        """The next character that is no space, without taking it; empty at the end."""
        while self._at < len(self._text) and self._text[self._at] in _SPACE:
            self._at += 1
        return self._text[self._at] if self._at < len(self._text) else ""

    def _refuse(self, char: str, where: str) -> Fault:
        return Fault(_unexpected(char, where) if char else "unexpected end of JSON input")

    def _value(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Fault("exceeded max depth")
        char = self._next()
        if char == "{":
            self._members(depth)
        elif char == "[":
            self._items(depth)
        elif char == '"':
            self._string()
        elif char in _LITERALS:
            self._literal(_LITERALS[char])
        elif char and char in "-0123456789":
            self._number()
        else:
            raise self._refuse(char, "looking for beginning of value")

    def _members(self, depth: int) -> None:
        self._at += 1
        if self._next() == "}":
            self._at += 1
            return
        while True:
            if (char := self._next()) != '"':
                raise self._refuse(char, "looking for beginning of object key string")
            self._string()
            if (char := self._next()) != ":":
                raise self._refuse(char, "after object key")
            self._at += 1
            self._value(depth + 1)
            if self._ends("}", "after object key:value pair"):
                return

    def _items(self, depth: int) -> None:
        self._at += 1
        if self._next() == "]":
            self._at += 1
            return
        while True:
            self._value(depth + 1)
            if self._ends("]", "after array element"):
                return

    def _ends(self, end: str, where: str) -> bool:
        char = self._next()
        if char not in (",", end):
            raise self._refuse(char, where)
        self._at += 1
        return char == end

    def _string(self) -> None:
        self._at += 1
        while True:
            char = self._take()
            if char == '"':
                return
            if char == "\\":
                escaped = self._take()
                if escaped == "u":
                    for _ in range(4):
                        if (digit := self._take()) not in "0123456789abcdefABCDEF":
                            raise self._refuse(digit, "in \\u hexadecimal character escape")
                elif escaped not in '"\\/bfnrt':
                    raise self._refuse(escaped, "in string escape code")
            elif char < " ":
                raise self._refuse(char, "in string literal")

    def _take(self) -> str:
        if self._at >= len(self._text):
            raise self._refuse("", "")
        self._at += 1
        return self._text[self._at - 1]

    def _literal(self, word: str) -> None:
        for expected in word:
            if (char := self._take()) != expected:
                raise self._refuse(char, f"in literal {word} (expecting '{expected}')")

    def _number(self) -> None:
        match = _number.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        for ending, where in (
            ("-", "in numeric literal"),
            (".", "after decimal point in numeric literal"),
            (("e", "E", "e-", "e+", "E-", "E+"), "in exponent of numeric literal"),
        ):
            if match[0].endswith(ending):
                char = self._text[self._at] if self._at < len(self._text) else ""
                raise self._refuse(char, where)
