"""Object literals of mutating policies: `Object.spec{replicas: 1}` and `JSONPatch{op: "add", …}`.

Upstream gives each field path a type of its own, made up as it is named. The library here knows no such types, so a literal becomes a
map literal before it is compiled: same values, same optional fields, and the place of a literal is checked against its name.
Source: KEP-3962, apiserver `cel/mutation`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pilothouse.api.cel.environment import CompileError

_TOKENS = re.compile(
    r"""(?P<text>[rRbB]{0,2}(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))"""
    r"""|(?P<comment>//[^\n]*)|(?P<space>\s+)|(?P<name>[A-Za-z_]\w*)|(?P<other>.)""",
    re.DOTALL,
).finditer
_UNESCAPED = {"__underscores__": "__", "__dot__": ".", "__dash__": "-", "__slash__": "/"}
_unescape = re.compile("|".join(_UNESCAPED)).sub
_is_keyword = re.compile(r"__(\w+?)__").fullmatch
_OPENING, _CLOSING = "{([", "})]"


@dataclass(slots=True)
class _Open:
    """A bracket that is open: of an object literal with the path that its name gives, or any other."""

    path: tuple[str, ...] | None = None
    expects_key: bool = False
    key: str = ""
    patches: bool = field(default=False)


def unescape(name: str) -> str:
    """The property that an identifier of a typed object stands for."""
    whole = _is_keyword(name)
    if whole is not None and name not in _UNESCAPED:
        return whole[1]
    return _unescape(lambda match: _UNESCAPED[match[0]], name)


def as_maps(expression: str, *, is_new: bool = False) -> str:
    """The expression with map literals, of dynamic type, in the place of object literals.

    Raises CompileError for a literal in the wrong place, which is told when it is met: of one that `is_new` it may be anywhere.
    """
    tokens = [(match.lastgroup or "", match[0]) for match in _TOKENS(expression)]
    out: list[str] = []
    stack: list[_Open] = []
    position = 0
    while position < len(tokens):
        kind, text = tokens[position]
        if kind == "name" and (literal := _literal(tokens, position)) is not None:
            path, position = literal
            if not is_new:
                _check_place(path, stack)
            stack.append(_Open(path, expects_key=True, patches=path is _PATCH))
            out.append("dyn({")
            continue
        out.append(_piece(kind, text, stack))
        position += 1
    return "".join(out)


_PATCH: tuple[str, ...] = ("JSONPatch",)
_PATCH_FIELDS = frozenset({"op", "path", "from", "value"})


def _literal(tokens: list[tuple[str, str]], position: int) -> tuple[tuple[str, ...], int] | None:
    """The path of the object literal that begins here, and the position after its brace."""
    name = tokens[position][1]
    if name not in ("Object", "JSONPatch") or _before(tokens, position) == ".":
        return None
    path: list[str] = []
    position += 1
    while True:
        position = _skip(tokens, position)
        if position >= len(tokens):
            return None
        text = tokens[position][1]
        if text == "{":
            return (_PATCH if name == "JSONPatch" else tuple(path)), position + 1
        after = _skip(tokens, position + 1)
        if name != "Object" or text != "." or after >= len(tokens) or tokens[after][0] != "name":
            return None
        path.append(unescape(tokens[after][1]))
        position = after + 1


def _before(tokens: list[tuple[str, str]], position: int) -> str:
    """The token before, without white space."""
    found = (text for kind, text in reversed(tokens[:position]) if kind not in ("space", "comment"))
    return next(found, "")


def _skip(tokens: list[tuple[str, str]], position: int) -> int:
    while position < len(tokens) and tokens[position][0] in ("space", "comment"):
        position += 1
    return position


def _piece(kind: str, text: str, stack: list[_Open]) -> str:
    """What a token becomes."""
    top = stack[-1] if stack else None
    if kind in ("space", "comment"):
        return text
    if text in _OPENING and kind == "other":
        stack.append(_Open())
    elif text in _CLOSING and kind == "other":
        if stack and stack.pop().path is not None:
            return "})"
    elif top is not None and top.path is not None:
        if text == ",":
            top.expects_key = True
        elif kind == "name" and top.expects_key:
            top.expects_key = False
            top.key = unescape(text)
            if top.patches and top.key not in _PATCH_FIELDS:
                raise CompileError(f"compilation failed: undefined field '{top.key}' of JSONPatch")
            return f'"{top.key}"'
    return text


def _check_place(path: tuple[str, ...], stack: list[_Open]) -> None:
    """Raises CompileError if a literal's name is not the path of the field that it is the value of."""
    if path is _PATCH:
        return
    outer = next((each for each in reversed(stack) if each.path is not None), None)
    if outer is None or outer.patches or outer.path is None:
        return
    expected = (*outer.path, outer.key)
    if path != expected:
        shown, wanted = ".".join(("Object", *path)), ".".join(("Object", *expected))
        raise CompileError(
            f'type mismatch: unexpected type name "{shown}", expected "{wanted}", which matches field name path from root Object type'
        )
