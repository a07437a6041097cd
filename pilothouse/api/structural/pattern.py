"""Regular expressions of schemas, which are written for Go's RE2, as Python's.

What RE2 has and `re` has not is rewritten where there is an equal (`\\z`, POSIX classes, a few Unicode classes) and left to RE2 itself
otherwise; what only `re` has is refused.
"""

from __future__ import annotations

import re
from typing import Protocol

from pilothouse.kit.remembered import remembered

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": "\\x00-\\x7F",
    "blank": "\\t ",
    "cntrl": "\\x00-\\x1F\\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\t\\n\\v\\f\\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_BACK_REFERENCES = frozenset("123456789kZ")
_BEFORE = r"(?:[^\\\[]|\\[pP]\{[^}]*\}|\\.|\[\^?\]?(?:[^\]\\]|\\.)*\])*?"
"""What may stand before the part that is looked for, which is not escaped and not in a class."""
_perl = re.compile(_BEFORE + r"(\(\?(?:[=!>(#|]|<[=!]|P=))", re.DOTALL).match
_possessive = re.compile(_BEFORE + r"([*+?]\+|\{\d+(?:,\d*)?\}\+)", re.DOTALL).match
_UNICODE = {"L": "[^\\W\\d_]", "N": "\\d", "Nd": "\\d"}
_TOKEN = re.compile(r"\\p\{\^?\w+\}|\\p\w|\\.|\[:\^?\w+:\]|\[\^?\]?|\]|\$|\(\?<(?![=!])|.", re.DOTALL)


class Pattern(Protocol):
    """What finds matches in texts."""

    def search(self, text: str) -> object:
        """None if there is no match."""


class _Re2:
    """A pattern that `re` has no equal of, for the engine of CEL, which is Go's."""

    def __init__(self, pattern: str) -> None:
        """Raises ValueError."""
        # Imported here: 25 ms and 6 MB for what hardly a schema has.
        from cel_expr_python import cel

        strings = {"text": cel.Type.STRING, "pattern": cel.Type.STRING}
        self._pattern = pattern
        self._matches = cel.NewEnv(variables=strings).compile("text.matches(pattern)")
        found = self._matches.eval(data={"text": "", "pattern": pattern})
        if str(found.type()) == "ERROR":
            raise ValueError(f"error parsing regexp: {found.plain_value()}")

    def search(self, text: str) -> object:
        return self._matches.eval(data={"text": text, "pattern": self._pattern}).plain_value() or None


@remembered(1024)
def compiled(pattern: str) -> Pattern:
    """Raises ValueError for what is no regular expression to Go."""
    try:
        return re.compile(_translated(pattern), re.ASCII if "\\p" not in pattern else 0)
    except _Untranslatable:
        return _Re2(pattern)
    except re.error as error:
        raise ValueError(f"error parsing regexp: {_go_text(error, pattern)}") from None


class _Untranslatable(Exception):
    """There is nothing like it in `re`."""


def _go_text(error: re.error, pattern: str) -> str:
    text, at = str(error.msg), error.pos or 0
    if text.startswith("missing )"):
        return f"missing closing ): `{pattern}`"
    if text.startswith("unbalanced"):
        return f"unexpected ): `{pattern}`"
    if text.startswith("unterminated character set"):
        return f"missing closing ]: `{pattern[pattern.rfind('[') :]}`"
    if text.startswith("nothing to repeat"):
        return f"missing argument to repetition operator: `{pattern[at : at + 1]}`"
    if text.startswith("multiple repeat"):
        return f"invalid nested repetition operator: `{pattern[max(at - 1, 0) : at + 1]}`"
    if "end of pattern" in text and pattern.endswith("\\"):
        return "trailing backslash at end of expression: ``"
    if text.startswith("bad escape"):
        return f"invalid escape sequence: `{text.removeprefix('bad escape ').partition(' ')[0]}`"
    return text


def _translated(pattern: str) -> str:
    if found := _perl(pattern):
        raise ValueError(f"error parsing regexp: invalid or unsupported Perl syntax: `{found[1]}`")
    if found := _possessive(pattern):
        raise ValueError(f"error parsing regexp: invalid nested repetition operator: `{found[1]}`")
    parts: list[str] = []
    in_class = False
    for match in _TOKEN.finditer(pattern):
        token = match.group()
        if token.startswith("\\p"):
            name = token[2:].strip("{}")
            if name not in _UNICODE or in_class:
                raise _Untranslatable
            token = _UNICODE[name]
        elif token.startswith("[:") and in_class:
            name = token[2:-2]
            if name not in _POSIX:
                raise ValueError(f"error parsing regexp: invalid character class range: `{token}`")
            token = _POSIX[name]
        elif token.startswith("["):
            if in_class:
                token = "\\" + token[0] + ("" if len(token) == 1 else token[1:])
                in_class = not token.endswith("]")
            else:
                in_class = True
        elif token == "]":
            in_class = False
        elif not in_class:
            if token.startswith("\\") and token[1:] in _BACK_REFERENCES:
                raise ValueError(f"error parsing regexp: invalid escape sequence: `{token}`")
            token = {"$": "\\Z", "\\z": "\\Z", "(?<": "(?P<"}.get(token, token)
        parts.append(token)
    return "".join(parts)
