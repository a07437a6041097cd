"""Regular expressions of schemas, which are written for Go's RE2, as Python's.

What RE2 has and `re` has not is rewritten where there is an equal (`\\z`, POSIX classes, a few Unicode classes) and refused otherwise.
"""

from __future__ import annotations

import re
from functools import lru_cache

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
_UNICODE = {"L": "[^\\W\\d_]", "N": "\\d", "Nd": "\\d"}
_TOKEN = re.compile(r"\\p\{\^?\w+\}|\\p\w|\\.|\[:\^?\w+:\]|\[\^?\]?|\]|\$|\(\?<(?![=!])|.", re.DOTALL)


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """Raises ValueError for what is no regular expression, or has none equal to it here."""
    try:
        return re.compile(_translated(pattern), re.ASCII if "\\p" not in pattern else 0)
    except re.error as error:
        raise ValueError(f"error parsing regexp: {error}") from None


def _translated(pattern: str) -> str:
    parts: list[str] = []
    in_class = False
    for match in _TOKEN.finditer(pattern):
        token = match.group()
        if token.startswith("\\p"):
            name = token[2:].strip("{}")
            if name not in _UNICODE or in_class:
                raise ValueError(f"error parsing regexp: invalid character class range: `{token}`")
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
            token = {"$": "\\Z", "\\z": "\\Z", "(?<": "(?P<"}.get(token, token)
        parts.append(token)
    return "".join(parts)
