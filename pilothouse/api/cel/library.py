"""Kubernetes' functions for expressions, and the types they work on.

Values of these types travel through the library as messages of a descriptor pool of our own: the only opaque values it can carry. Their
fields are text in canonical form, so that equal values are equal messages. Source: apiserver `pkg/cel/library`, `environment/base.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from pilothouse.api.cel import access, formats, network
from pilothouse.api.quantity import Quantity
from pilothouse.api.quantity import parse as parse_quantity

_QUANTITY, _URL, _IP, _CIDR = "kubernetes.Quantity", "kubernetes.URL", "net.IP", "net.CIDR"
_SEMVER, _FORMAT, _FOUND = "kubernetes.Semver", "kubernetes.NamedFormat", "kubernetes.Found"
_ACCESS = "kubernetes.authorization"
CIDR_TEXT = "kubernetes__cidr__text"
"""Under which name `string(cidr)` is there: the library tells functions apart by whether an argument is a message, not by which."""
_SIMPLE = {"kubernetes": ("Quantity", "URL", "Semver", "NamedFormat"), "net": ("IP", "CIDR")}
PACKAGES = (*_SIMPLE, _ACCESS)
"""Of the messages of our types; each has a file of its own."""
_EXTENSIONS = "extensions:\n" + "".join(
    f'  - name: "{name}"\n' for name in ("lists", "sets", "two-var-comprehensions", "bindings")
)
_TYPES = {
    "dyn": cel.Type.DYN,
    "bool": cel.Type.BOOL,
    "string": cel.Type.STRING,
    "int": cel.Type.INT,
    "double": cel.Type.DOUBLE,
    "bytes": cel.Type.BYTES,
    "null": cel.Type.NULL,
    "timestamp": cel.Type.TIMESTAMP,
    "duration": cel.Type.DURATION,
    "list": cel.Type.List(cel.Type.DYN),
    "strings": cel.Type.List(cel.Type.STRING),
    "map": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    "query": cel.Type.Map(cel.Type.STRING, cel.Type.List(cel.Type.STRING)),
}

Function = tuple[str, str, Sequence[str], str, Callable[..., Any]]
"""Name, `.` for a method, the types of the parameters, of the result, and what it does."""


VariableType = str | tuple[str, Any]
"""The name of a type, or `list` or `map` with the type of what it holds; the keys of such a map are text."""


_PATCHING: tuple[Function, ...] = (
    ("jsonpatch.escapeKey", "", ["string"], "string", lambda key: key.replace("~", "~0").replace("/", "~1")),
)


def _type(type_: VariableType) -> cel.Type:
    if isinstance(type_, tuple):
        kind, inner = type_
        return cel.Type.List(_type(inner)) if kind == "list" else cel.Type.Map(cel.Type.STRING, _type(inner))
    return _TYPES[type_] if type_ in _TYPES else cel.Type(type_)


class Library:
    """The functions and types of one environment."""

    def __init__(self, files: Iterable[Any] = ()) -> None:
        self.authorize: access.Authorize | None = None
        """Who is asked during the evaluation that is going on; an evaluation never suspends."""
        self._pool = _pool()
        for file in files:
            self._pool.AddSerializedFile(file.SerializeToString())
        self._messages: dict[str, type[Any]] = {}
        self.access = access.Access(lambda name: self._class(f"{_ACCESS}.{name}"), lambda: self.authorize)
        self._formats = formats.checks()
        self._find: cel.Expression | None = None

    def environment(self, variables: Mapping[str, VariableType], *, mutates: bool = False) -> cel.Env:
        """`mutates` adds what only expressions have that make patches."""
        functions = (
            *(_PATCHING if mutates else ()),
            *self._lists(),
            *self._regex(),
            *self._quantities(),
            *self._urls(),
            *self._addresses(),
            *self._networks(),
            *self._versions(),
            *self._named_formats(),
            *self._authorizer(),
        )
        overloads: dict[str, list[cel.Overload]] = {}
        for index, (name, kind, parameters, returns, do) in enumerate(_merged(functions)):
            overload = cel.Overload(
                f"kubernetes_{index}",
                return_type=_type(returns),
                parameters=[_type(each) for each in parameters],
                is_member=kind == ".",
                impl=do,
            )
            overloads.setdefault(name, []).append(overload)
        declarations = [cel.FunctionDecl(name, group) for name, group in overloads.items()]
        return cel.NewEnv(
            self._pool,
            config=cel.NewEnvConfigFromYaml(_EXTENSIONS),
            variables={name: _type(type_) for name, type_ in variables.items()},
            extensions=[
                ext_strings.ExtStrings(),
                ext_optional.ExtOptional(),
                cel.CelExtension("kubernetes", declarations),
            ],
        )

    def _class(self, name: str) -> type[Any]:
        if name not in self._messages:
            self._messages[name] = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))
        return self._messages[name]

    def _make(self, name: str, text: str) -> Any:
        return self._class(name)(text=text)

    # Lists and text

    def _lists(self) -> tuple[Function, ...]:
        def ordered(values: list[Any]) -> bool:
            return all(one <= two for one, two in pairwise(values))

        def extreme(of: Callable[[list[Any]], Any], name: str) -> Callable[[list[Any]], Any]:
            def found(values: list[Any]) -> Any:
                if not values:
                    raise ValueError(f"{name} called on empty list")
                return of(values)

            return found

        def index(values: list[Any], wanted: Any) -> int:
            return next((at for at, value in enumerate(values) if _same(value, wanted)), -1)

        def last_index(values: list[Any], wanted: Any) -> int:
            return next((at for at in range(len(values) - 1, -1, -1) if _same(values[at], wanted)), -1)

        return (
            ("isSorted", ".", ["list"], "bool", ordered),
            ("sum", ".", ["list"], "dyn", _sum),
            ("min", ".", ["list"], "dyn", extreme(min, "min")),
            ("max", ".", ["list"], "dyn", extreme(max, "max")),
            ("indexOf", ".", ["list", "dyn"], "int", index),
            ("lastIndexOf", ".", ["list", "dyn"], "int", last_index),
        )

    def _regex(self) -> tuple[Function, ...]:
        def find(text: str, pattern: str) -> str:
            found = self._matches(text, pattern)
            return found[0] if found else ""

        def find_some(text: str, pattern: str, limit: int) -> list[str]:
            found = self._matches(text, pattern)
            return found if limit < 0 else found[:limit]

        return (
            ("find", ".", ["string", "string"], "string", find),
            ("findAll", ".", ["string", "string"], "strings", self._matches),
            ("findAll", ".", ["string", "string", "int"], "strings", find_some),
        )

    def _matches(self, text: str, pattern: str) -> list[str]:
        """By the library's own engine, RE2: no pattern can keep it busy for long. Raises ValueError."""
        if self._find is None:
            strings = {"text": cel.Type.STRING, "pattern": cel.Type.STRING}
            environment = cel.NewEnv(
                config=cel.NewEnvConfigFromYaml('extensions:\n  - name: "regex"\n'),
                variables=strings,
                extensions=[ext_optional.ExtOptional()],
            )
            self._find = environment.compile("regex.extractAll(text, pattern)")
        found = self._find.eval(data={"text": text, "pattern": _without_groups(pattern)})
        if str(found.type()) == "ERROR":
            raise ValueError(str(found.plain_value()))
        matches: list[str] = found.plain_value()
        return matches

    # Quantities, URLs, addresses, versions

    def _quantities(self) -> tuple[Function, ...]:
        def make(quantity: Quantity) -> Any:
            return self._make(_QUANTITY, str(quantity.nano))

        def of(value: Any) -> Quantity:
            return Quantity(int(value.text))

        def whole(value: Any) -> int:
            if not of(value).is_whole:
                raise ValueError("cannot convert value to integer")
            return of(value).value

        def compare(one: Any, two: Any) -> int:
            return (of(one).nano > of(two).nano) - (of(one).nano < of(two).nano)

        return (
            ("quantity", "", ["string"], _QUANTITY, lambda text: make(parse_quantity(text))),
            ("isQuantity", "", ["string"], "bool", lambda text: _works(parse_quantity, text)),
            ("sign", ".", [_QUANTITY], "int", lambda value: compare(value, make(Quantity(0)))),
            ("isInteger", ".", [_QUANTITY], "bool", lambda value: of(value).is_whole and abs(of(value).value) < 2**63),
            ("asInteger", ".", [_QUANTITY], "int", whole),
            ("asApproximateFloat", ".", [_QUANTITY], "double", lambda value: of(value).nano / 1e9),
            ("compareTo", ".", [_QUANTITY, _QUANTITY], "int", compare),
            ("isGreaterThan", ".", [_QUANTITY, _QUANTITY], "bool", lambda one, two: compare(one, two) > 0),
            ("isLessThan", ".", [_QUANTITY, _QUANTITY], "bool", lambda one, two: compare(one, two) < 0),
            ("add", ".", [_QUANTITY, _QUANTITY], _QUANTITY, lambda one, two: make(of(one) + of(two))),
            ("add", ".", [_QUANTITY, "int"], _QUANTITY, lambda one, two: make(of(one) + Quantity.of(two))),
            ("sub", ".", [_QUANTITY, _QUANTITY], _QUANTITY, lambda one, two: make(of(one) - of(two))),
            ("sub", ".", [_QUANTITY, "int"], _QUANTITY, lambda one, two: make(of(one) - Quantity.of(two))),
        )

    def _urls(self) -> tuple[Function, ...]:
        def make(text: str) -> Any:
            network.Url(text)
            return self._make(_URL, text)

        def part(name: str) -> Callable[[Any], Any]:
            return lambda value: getattr(network.Url(value.text), name)

        parts = ("scheme", "host", "hostname", "port", "escaped_path")
        return (
            ("url", "", ["string"], _URL, make),
            ("isURL", "", ["string"], "bool", lambda text: _works(network.Url, text)),
            *((f"get{name.title().replace('_', '')}", ".", [_URL], "string", part(name)) for name in parts),
            ("getQuery", ".", [_URL], "query", part("query")),
        )

    def _addresses(self) -> tuple[Function, ...]:
        def make(text: str) -> Any:
            return self._make(_IP, str(network.parse_ip(text)))

        def holds(what: Callable[[network.Address], bool]) -> Callable[[Any], bool]:
            return lambda value: what(network.parse_ip(value.text))

        return (
            ("ip", "", ["string"], _IP, make),
            ("isIP", "", ["string"], "bool", lambda text: _works(network.parse_ip, text)),
            ("ip.isCanonical", "", ["string"], "bool", lambda text: str(network.parse_ip(text)) == text),
            ("string", "", [_IP], "string", lambda value: value.text),
            ("family", ".", [_IP], "int", lambda value: network.parse_ip(value.text).version),
            ("isUnspecified", ".", [_IP], "bool", holds(lambda address: address.is_unspecified)),
            ("isLoopback", ".", [_IP], "bool", holds(lambda address: address.is_loopback)),
            ("isLinkLocalMulticast", ".", [_IP], "bool", holds(network.is_link_local_multicast)),
            ("isLinkLocalUnicast", ".", [_IP], "bool", holds(lambda address: address.is_link_local)),
            ("isGlobalUnicast", ".", [_IP], "bool", holds(network.is_global_unicast)),
        )

    def _networks(self) -> tuple[Function, ...]:
        def make(text: str) -> Any:
            return self._make(_CIDR, str(network.parse_cidr(text)))

        def has(value: Any, address: str) -> bool:
            return network.parse_ip(address) in network.parse_cidr(value.text).network

        def covers(value: Any, other: str) -> bool:
            return network.contains_cidr(network.parse_cidr(value.text), network.parse_cidr(other))

        def ip(value: Any) -> Any:
            return self._make(_IP, str(network.parse_cidr(value.text).ip))

        return (
            ("cidr", "", ["string"], _CIDR, make),
            ("isCIDR", "", ["string"], "bool", lambda text: _works(network.parse_cidr, text)),
            ("containsIP", ".", [_CIDR, "string"], "bool", has),
            ("containsIP", ".", [_CIDR, _IP], "bool", lambda value, address: has(value, address.text)),
            ("containsCIDR", ".", [_CIDR, "string"], "bool", covers),
            ("containsCIDR", ".", [_CIDR, _CIDR], "bool", lambda value, other: covers(value, other.text)),
            ("ip", ".", [_CIDR], _IP, ip),
            ("prefixLength", ".", [_CIDR], "int", lambda value: network.parse_cidr(value.text).network.prefixlen),
            (CIDR_TEXT, "", [_CIDR], "string", lambda value: value.text),
            ("masked", ".", [_CIDR], _CIDR, lambda value: make(network.masked(network.parse_cidr(value.text)))),
        )

    def _versions(self) -> tuple[Function, ...]:
        def make(text: str, normalize: bool = False) -> Any:
            return self._make(_SEMVER, formats.Semver(text, normalize=normalize).text)

        def part(name: str) -> Callable[[Any], int]:
            return lambda value: int(getattr(formats.Semver(value.text), name))

        def compare(one: Any, two: Any) -> int:
            return formats.Semver(one.text).compare(formats.Semver(two.text))

        return (
            ("semver", "", ["string"], _SEMVER, make),
            ("semver", "", ["string", "bool"], _SEMVER, make),
            ("isSemver", "", ["string"], "bool", lambda text: _works(make, text)),
            ("isSemver", "", ["string", "bool"], "bool", lambda text, normalize: _works(make, text, normalize)),
            *((name, ".", [_SEMVER], "int", part(name)) for name in ("major", "minor", "patch")),
            ("compareTo", ".", [_SEMVER, _SEMVER], "int", compare),
            ("isGreaterThan", ".", [_SEMVER, _SEMVER], "bool", lambda one, two: compare(one, two) > 0),
            ("isLessThan", ".", [_SEMVER, _SEMVER], "bool", lambda one, two: compare(one, two) < 0),
        )

    def _named_formats(self) -> tuple[Function, ...]:
        """What `validate` and `named` give is optional upstream; here one type of its own with `hasValue`, `value` and `orValue`."""

        def validate(format_: Any, text: str) -> Any:
            return self._class(_FOUND)(text=list(self._formats[format_.text](text)))

        def has_value(found: Any) -> bool:
            return bool(found.text or found.name)

        def value(found: Any) -> Any:
            if not has_value(found):
                raise ValueError("optional.none() dereference")
            return self._make(_FORMAT, found.name) if found.name else list(found.text)

        def named(text: str) -> Any:
            return self._class(_FOUND)(name=text if text in self._formats else "")

        def constant(name: str) -> Callable[[], Any]:
            return lambda: self._make(_FORMAT, name)

        return (
            *((f"format.{name}", "", [], _FORMAT, constant(name)) for name in self._formats),
            ("format.named", "", ["string"], _FOUND, named),
            ("validate", ".", [_FORMAT, "string"], _FOUND, validate),
            ("hasValue", ".", [_FOUND], "bool", has_value),
            ("value", ".", [_FOUND], "dyn", value),
            ("orValue", ".", [_FOUND, "dyn"], "dyn", lambda found, other: value(found) if has_value(found) else other),
        )

    def _authorizer(self) -> tuple[Function, ...]:
        authorizer, path, group = f"{_ACCESS}.Authorizer", f"{_ACCESS}.PathCheck", f"{_ACCESS}.GroupCheck"
        check, decision = f"{_ACCESS}.ResourceCheck", f"{_ACCESS}.Decision"
        do = self.access
        narrowing = ("subresource", "namespace", "name", "fieldSelector", "labelSelector")
        fields = {"fieldSelector": "field_selector", "labelSelector": "label_selector"}
        return (
            ("path", ".", [authorizer, "string"], path, do.path),
            ("group", ".", [authorizer, "string"], group, do.group),
            ("serviceAccount", ".", [authorizer, "string", "string"], authorizer, do.service_account),
            ("resource", ".", [group, "string"], check, do.resource),
            *((name, ".", [check, "string"], check, do.narrowed(fields.get(name, name))) for name in narrowing),
            ("check", ".", [path, "string"], decision, do.check),
            ("check", ".", [check, "string"], decision, do.check),
            ("allowed", ".", [decision], "bool", lambda answer: bool(answer.allowed)),
            ("errored", ".", [decision], "bool", lambda answer: bool(answer.error)),
            ("error", ".", [decision], "string", lambda answer: answer.error),
            ("reason", ".", [decision], "string", lambda answer: answer.reason),
        )


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    packages: dict[str, Mapping[str, Sequence[str]]] = {
        package: dict.fromkeys(names, ("text",)) for package, names in _SIMPLE.items()
    }
    packages[_ACCESS] = access.MESSAGES
    for package, messages in packages.items():
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
        for name, fields in messages.items():
            message = file.message_type.add(name=name)
            for number, field in enumerate(fields, 1):
                message.field.add(name=field, number=number, type=9, label=1)
        if package == "kubernetes":
            found = file.message_type.add(name="Found")
            found.field.add(name="text", number=1, type=9, label=3)
            found.field.add(name="name", number=2, type=9, label=1)
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _merged(functions: Sequence[Function]) -> list[Function]:
    """Functions that the library could not tell apart when they are called, as one that looks at its first argument.

    It tells overloads apart by the kind of their arguments, and all our types are of one kind: message.
    """
    groups: dict[tuple[object, ...], list[Function]] = {}
    for function in functions:
        name, kind, parameters, _, _ = function
        kinds = tuple("message" if "." in each else each for each in parameters)
        groups.setdefault((name, kind, kinds), []).append(function)
    return [group[0] if len(group) == 1 else _one_of(group) for group in groups.values()]


def _one_of(group: Sequence[Function]) -> Function:
    name, kind, parameters, returns, _ = group[0]
    by_type = {each[2][0]: each[4] for each in group}

    def dispatch(first: Any, *others: Any) -> Any:
        descriptor = getattr(first, "DESCRIPTOR", None)
        do = by_type.get(descriptor.full_name) if descriptor is not None else None
        if do is None:
            raise ValueError("no such overload")
        return do(first, *others)

    return name, kind, ["dyn" if "." in each else each for each in parameters], returns, dispatch


def _works(do: Callable[..., object], *arguments: object) -> bool:
    try:
        do(*arguments)
    except ValueError:
        return False
    return True


def _same(one: Any, two: Any) -> bool:
    """CEL's equality: true is not 1."""
    return bool(one == two) and isinstance(one, bool) == isinstance(two, bool)


def _sum(values: list[Any]) -> Any:
    if not values:
        return 0
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _without_groups(pattern: str) -> str:
    """The pattern with groups that capture nothing, so that a match is told as a whole."""
    parts: list[str] = []
    position, in_class = 0, False
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            parts.append(pattern[position : position + 2])
            position += 2
            continue
        if character == "[":
            in_class = True
        elif character == "]":
            in_class = False
        elif character == "(" and not in_class:
            named = pattern.startswith(("(?P<", "(?<"), position)
            if named or not pattern.startswith("(?", position):
                parts.append("(?:")
                position = pattern.index(">", position) + 1 if named else position + 1
                continue
        parts.append(character)
        position += 1
    return "".join(parts)
