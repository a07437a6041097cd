"""Environments, programs, and the errors of both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pilothouse.api.cel.access import Authorize

if TYPE_CHECKING:
    from cel_expr_python import cel

    from pilothouse.api.cel.ast import Node
    from pilothouse.api.cel.library import Library, VariableType
    from pilothouse.api.cel.report import Mistake

DYN, BOOL, STRING, INT, DOUBLE, BYTES = "dyn", "bool", "string", "int", "double", "bytes"
LIST, MAP, TIMESTAMP, DURATION, NULL = "list", "map", "timestamp", "duration", "null"
AUTHORIZER = "kubernetes.authorization.Authorizer"
RESOURCE_CHECK = "kubernetes.authorization.ResourceCheck"

MAX_EXPRESSION_BYTES = 10 * 1024
COST_EXCEEDED = "operation cancelled: actual cost limit exceeded"
KEYWORDS = frozenset(
    (
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"),
        *("let", "loop", "package", "namespace", "return", "var", "void", "while"),
    )
)
"""Names that stand for properties under an escaped name as well as, after a dot, under their own."""
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_escape_parts = re.compile(r"__|[.\-/]").sub
_is_identifier = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch
_status_suffix = re.compile(r" \[[A-Z_]+\]$").sub
_status_prefix = re.compile(r"^[A-Z_]+: ").sub
_missing_key = re.compile(r"Key not found in map : (.*)").fullmatch
_WORDS = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"divide by zero$", "division by zero"),
        (r"(?i:index error): index=(-?\d+)", r"index out of bounds: \1"),
        (r"cannot convert (\w+) to (\w+)$", r"type conversion error from '\1' to '\2'"),
        (r"Type conversion (error from .*)", r"type conversion \1"),
        (
            r"String to (Duration|Timestamp) conversion failed",
            r"type conversion error from 'string' to 'google.protobuf.\1'",
        ),
        (r"<string>\.(?:charAt|substring|indexOf|lastIndexOf)\(", "index out of range"),
    )
)
"""How cel-go says what the library here says in other words."""


class CompileError(Exception):
    """The expression is wrong. The text is that of the compiler, with the place; `mistakes` are what it says, one by one."""

    def __init__(self, text: str, mistakes: Sequence[Mistake] = ()) -> None:
        super().__init__(text)
        self.mistakes = tuple(mistakes)


class EvaluationError(Exception):
    """The expression has no value for these variables: a missing key, a division by zero, a limit exceeded."""


def escape(name: str) -> str | None:
    """The identifier under which expressions reach a property of a typed object; None if there is none."""
    if name in KEYWORDS:
        return f"__{name}__"
    escaped = _escape_parts(lambda match: _ESCAPES[match[0]], name)
    return escaped if _is_identifier(escaped) else None


def timestamp(moment: datetime) -> Any:
    """The value for a moment that is aware of its time zone."""
    from google.protobuf.timestamp_pb2 import Timestamp

    value = Timestamp()
    value.FromDatetime(moment)
    return value


def duration(length: timedelta) -> Any:
    """The value for a length of time."""
    from google.protobuf.duration_pb2 import Duration

    value = Duration()
    value.FromTimedelta(length)
    return value


class Program:
    """A compiled expression. `returns` is the type it has, DYN where only a value can tell."""

    __slots__ = ("_compiled", "_environment", "_library", "expression", "returns")

    def __init__(
        self, expression: str, compiled: cel.Expression, environment: cel.Env, library: Library, returns: str
    ) -> None:
        self.expression = expression
        self.returns = returns
        self._compiled = compiled
        self._environment = environment
        self._library = library

    def serialized(self) -> bytes:
        """The compiled expression, for `ast.parse`."""
        compiled: bytes = self._compiled.serialize()
        return compiled

    def evaluate(self, values: Mapping[str, Any], *, authorize: Authorize | None = None) -> Any:
        """The value of the expression. `authorize` answers what it asks of an authorizer. Raises EvaluationError."""
        library = self._library
        library.authorize = authorize
        try:
            return _value(self._compiled, values)
        except EvaluationError as error:
            if str(error) != COST_EXCEEDED:
                raise
            return self._in_pieces(values)
        finally:
            library.authorize = None

    def _in_pieces(self, values: Mapping[str, Any]) -> Any:
        """The value, where one evaluation has too many rounds. Raises EvaluationError."""
        from pilothouse.api.cel.pieces import TooManyRounds, evaluate

        def execute(checked: bytes, variables: Mapping[str, Any]) -> Any:
            try:
                return _value(self._environment.deserialize(checked), {**values, **variables})
            except EvaluationError as error:
                if str(error) == COST_EXCEEDED:
                    raise TooManyRounds from None
                raise

        try:
            return evaluate(self.serialized(), values, execute, EvaluationError)
        except TooManyRounds:
            raise EvaluationError(COST_EXCEEDED) from None


def _value(compiled: cel.Expression, values: Mapping[str, Any]) -> Any:
    """Raises EvaluationError."""
    try:
        found = compiled.eval(data=values)
        type_ = str(found.type())
        if type_ == "ERROR":
            raise EvaluationError(_evaluation_text(str(found.plain_value())))
        value = found.plain_value()
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise EvaluationError(_evaluation_text(str(error))) from None
    return bytes(value) if isinstance(value, bytearray) else value


class Environment:
    """The variables and functions that expressions know. Types of variables are the constants of this module."""

    def __init__(
        self, variables: Mapping[str, VariableType], *, files: Iterable[Any] = (), mutates: bool = False
    ) -> None:
        """`files` are descriptors of further message types that variables may have; `mutates` is for expressions that make patches."""
        # Imported here: the library takes 25 ms and 6 MB that a server without expressions need not spend.
        from pilothouse.api.cel.library import Library

        self._library = Library(files)
        self._environment = self._library.environment(variables, mutates=mutates)

    def authorizer(self) -> Any:
        """The value of a variable of type AUTHORIZER."""
        return self._library.access.authorizer()

    def resource_check(self, **fields: str) -> Any:
        """The value of a variable of type RESOURCE_CHECK: `group`, `resource`, `subresource`, `namespace`, `name`."""
        return self._library.access.resource_check(**fields)

    def _compiled(self, source: str) -> cel.Expression:
        """Raises RuntimeError, ValueError."""
        from pilothouse.api.cel import report
        from pilothouse.api.cel.library import CIDR_TEXT

        try:
            return self._environment.compile(source)
        except (RuntimeError, ValueError) as error:
            # The library knows no second function from a message to a text of the same name: it has one of another name.
            places = report.cidr_texts(str(error))
            if not places:
                raise
            return self._environment.compile(report.renamed(source, places, "string", CIDR_TEXT))

    def bound(self, expression: str, bindings: Mapping[str, str]) -> Node:
        """The tree of an expression whose names are bound to others: checked in the types of these. Raises CompileError.

        The expression has been compiled before with names that mean anything, so that it is one.
        """
        from pilothouse.api.cel import ast, report

        start = "".join(f"cel.bind({name},{value}," for name, value in bindings.items())
        try:
            compiled = self._compiled(f"{start}{expression}\n{')' * len(bindings)}")
        except (RuntimeError, ValueError) as error:
            found = [
                replace(each, column=each.column - (len(start) if each.line == 1 else 0))
                for each in report.mistakes(str(error))
            ]
            raise CompileError(f"compilation failed: {report.render(found, expression)}", found) from None
        tree = ast.parse(compiled.serialize())
        for _ in bindings:
            assert isinstance(tree, ast.Comprehension)
            tree = tree.result
        return tree

    def compile(
        self, expression: str, *, returns: str | tuple[str, ...] = (), is_new: bool = True, mixes: bool = False
    ) -> Program:
        """Raises CompileError, also if the expression can have no value of the types `returns`.

        Of one that `is_new` the literals are looked at as well; with `mixes` lists and maps may hold values of several types.
        """
        if len(expression.encode()) > MAX_EXPRESSION_BYTES:
            raise CompileError(f"compilation failed: expression is longer than {MAX_EXPRESSION_BYTES} bytes")
        from pilothouse.api.cel import ast, report
        from pilothouse.api.cel.literals import literal_mistakes

        try:
            compiled = self._compiled(expression)
        except (RuntimeError, ValueError) as error:
            found = report.mistakes(str(error))
            text = report.render(found, expression) or _status_suffix("", _status_prefix("", str(error)))
            raise CompileError(f"compilation failed: {text}", found) from None
        wrong = literal_mistakes(ast.parse(compiled.serialize()), mixes=mixes) if is_new else ()
        if found := [report.mistake_at(expression, offset, text) for offset, text in wrong]:
            raise CompileError(f"compilation failed: {report.render(found, expression)}", found)
        type_ = _type_name(str(compiled.return_type()))
        wanted = (returns,) if isinstance(returns, str) else returns
        if wanted and type_ != DYN and type_ not in wanted:
            if len(wanted) == 1:
                raise CompileError(f"must evaluate to {wanted[0]}")
            raise CompileError(f"must evaluate to one of [{', '.join(wanted)}]")
        return Program(expression, compiled, self._environment, self._library, type_)


def _type_name(text: str) -> str:
    """`LIST<INT>` is a list."""
    name = text.partition("<")[0]
    return name.lower() if name.isupper() else name


def _evaluation_text(text: str) -> str:
    """The message of a failure, in the words of cel-go, which clients know."""
    text = _status_suffix("", _status_prefix("", text))
    if match := _missing_key(text):
        return f"no such key: {match[1].strip(chr(34))}"
    if "Iteration budget exceeded" in text:
        return COST_EXCEEDED
    if "No matching overloads found" in text:
        return "no such overload"
    for pattern, words in _WORDS:
        if match := pattern.match(text):
            return match.expand(words)
    return text
