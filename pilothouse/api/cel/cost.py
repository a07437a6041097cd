"""What an expression may cost at most, before anybody evaluates it.

Sizes of what an expression reaches come from `sizes`, by the path of names that leads there (`@items`, `@keys` and `@values` for what
lists and maps hold).
Source: cel-go `checker/cost.go`; the functions of Kubernetes' own are in `call_costs`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pilothouse.api.cel.ast import Call, Comprehension, List, Literal, Name, Node, Select, Struct, Type
from pilothouse.api.cel.call_costs import call_cost
from pilothouse.api.cel.cost_terms import (
    LIMIT,
    NOTHING,
    ONE,
    REGEX,
    TRAVERSAL,
    UNKNOWN,
    ZERO,
    Argument,
    Estimated,
    Range,
    sized,
)
from pilothouse.api.cel.literals import binds

_LIST, _MAP, _STRUCT = 10, 30, 40
"""Of making one."""
_SCALARS = frozenset({"bool", "double", "duration", "int", "timestamp", "uint"})
_ACCUMULATORS = frozenset({"@result", "__result__"})
_ORDERED = frozenset(
    f"{order}_{type_}"
    for order in ("less", "greater", "less_equals", "greater_equals")
    for type_ in ("string", "bytes")
)
_COMPARED = frozenset({"equals", "not_equals", *_ORDERED})
_ITEMS_OF = frozenset({"sum", "min", "max"})
_ARITHMETIC = frozenset({"_+_", "_-_", "_*_", "_/_", "_%_"})
_SUFFIXES = {"int": "_int64", "uint": "_uint64", "double": "_double", "string": "_string", "bytes": "_bytes"}
"""How the names of overloads end whose arguments all have the type."""
_ADDED = frozenset({"add_string", "add_bytes", "add_list"})


class Entries(NamedTuple):
    """The sizes of what a list or map holds."""

    is_list: bool
    key: Range
    value: Range


Sizes = Callable[[tuple[str, ...]], int | None]
"""How large a value at a path may be; None if nobody knows."""


class _Local(NamedTuple):
    path: tuple[str, ...]
    size: Range | None
    entries: Entries | None


def estimate(tree: Node, sizes: Sizes) -> Range:
    """What evaluating `tree` costs."""
    return Estimator(sizes).cost(tree)


class Estimator:
    """Works on one tree."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._paths: dict[int, tuple[str, ...]] = {}
        self._computed: dict[int, Range] = {}
        self._entries: dict[int, Entries] = {}
        self._locals: dict[str, list[_Local]] = {}

    def cost(self, node: Node) -> Range:
        match node:
            case Name():
                local = self._local(node.name)
                self._paths[node.id] = (node.name,) if local is None else local.path
                return ONE
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case List():
                return self._list(node)
            case Struct():
                return self._struct(node)
            case Comprehension():
                return self._bind(node) if binds(node) else self._comprehension(node)
        return ZERO

    def _select(self, node: Select) -> Range:
        total = self.cost(node.operand)
        if node.is_test:
            return total
        self._paths[node.id] = (*self._path(node.operand), node.field)
        return total.plus(ONE) if node.operand.type.name in ("map", "message", "parameter") else total

    def _list(self, node: List) -> Range:
        total = Range(_LIST, _LIST)
        size = NOTHING if node.items else ZERO
        for item in node.items:
            total = total.plus(self.cost(item))
            size = size.union(self._size_or_unknown(item))
        self._entries[node.id] = Entries(True, ONE, size)
        return total

    def _struct(self, node: Struct) -> Range:
        if node.message:
            total = Range(_STRUCT, _STRUCT)
            for _, value in node.entries:
                total = total.plus(self.cost(value))
            return total
        total = Range(_MAP, _MAP)
        key_size = value_size = NOTHING if node.entries else ZERO
        for key, value in node.entries:
            assert key is not None
            total = total.plus(self.cost(key)).plus(self.cost(value))
            key_size = key_size.union(self._size_or_unknown(key))
            value_size = value_size.union(self._size_or_unknown(value))
        self._entries[node.id] = Entries(False, key_size, value_size)
        return total

    # Comprehensions

    def _bind(self, node: Comprehension) -> Range:
        total = self.cost(node.range).plus(self.cost(node.start))
        self._push(node.accumulator, self._as_local(node.start))
        total = total.plus(self.cost(node.result))
        self._locals[node.accumulator].pop()
        self._copy(node, node.result)
        return total

    def _comprehension(self, node: Comprehension) -> Range:
        total = self.cost(node.range).plus(self.cost(node.start))
        self._push(node.accumulator, self._as_local(node.start))
        variables = self._iterated(node)
        for name, local in variables:
            self._push(name, local)
        round_ = self.cost(node.condition).plus(self.cost(node.step))
        for name, _ in variables:
            self._locals[name].pop()
        total = total.plus(self.cost(node.result))
        self._locals[node.accumulator].pop()
        count = self._size_or_unknown(node.range)
        if isinstance(node.start, Literal):
            self._set_size(node, self._size(node.start))
        elif isinstance(node.start, List | Struct):
            self._set_size(node, count)
            if (entries := self._entries_of(node.step)) is not None:
                self._entries[node.id] = entries
        return total.plus(count.times(round_))

    def _iterated(self, node: Comprehension) -> list[tuple[str, _Local]]:
        """What the variables of a comprehension stand for."""
        entries, path = self._entries_of(node.range), self._path(node.range)
        is_list = node.range.type.name == "list" if entries is None else entries.is_list
        key = _Local((*path, "@indices" if is_list else "@keys"), None if entries is None else entries.key, None)
        value = _Local((*path, "@items" if is_list else "@values"), None if entries is None else entries.value, None)
        if node.second:
            return [(node.variable, key), (node.second, value)]
        return [(node.variable, value if is_list else key)]

    def _as_local(self, node: Node) -> _Local:
        return _Local(self._path(node), self._size(node), self._entries_of(node))

    def _push(self, name: str, local: _Local) -> None:
        self._locals.setdefault(name, []).append(local)

    def _local(self, name: str) -> _Local | None:
        found = self._locals.get(name)
        return found[-1] if found else None

    # Calls

    def _call(self, node: Call) -> Range:
        if node.function == "dyn":
            total = ONE.plus(self.cost(node.arguments[0]))
            self._copy(node, node.arguments[0])
            return total
        costs = [self.cost(argument) for argument in node.arguments]
        total = ZERO if node.target is None else self.cost(node.target)
        arguments = [self._argument(argument) for argument in node.arguments]
        target = None if node.target is None else self._argument(node.target)
        own, size = NOTHING, None
        for overload in _possible(node):
            found = self._overload(node, overload, target, arguments, costs)
            own = own.union(found.cost)
            if found.size is not None:
                size = found.size if size is None else size.union(found.size)
            if overload in ("index_list", "index_map"):
                entries = self._entries_of(node.arguments[0])
                size = None if entries is None else entries.value
                inside = "@items" if overload == "index_list" else "@values"
                self._paths[node.id] = (*self._path(node.arguments[0]), inside)
            if size is None:
                size = self._size(node)
        self._set_size(node, size)
        return total.plus(own) if node.overloads else ZERO

    def _overload(
        self, node: Call, overload: str, target: Argument | None, arguments: list[Argument], costs: list[Range]
    ) -> Estimated:
        own = call_cost(node.function, target, arguments, self.size_at)
        if own is not None:
            return Estimated(_total(costs, own.cost), own.size)
        if overload in ("logical_or", "logical_and"):
            return Estimated(Range(costs[0].least, costs[0].plus(costs[1]).most))
        if overload == "conditional":
            return self._conditional(node, arguments, costs)
        if overload in _ADDED and len(arguments) == 2:
            return self._added(node, overload, arguments, costs)
        found = standard_cost(overload, target, arguments)
        return Estimated(_total(costs, found.cost), found.size)

    def _conditional(self, node: Call, arguments: list[Argument], costs: list[Range]) -> Estimated:
        _, yes, no = node.arguments
        self._unite(node, self._entries_of(yes), self._entries_of(no))
        size = sized(arguments[1]).union(sized(arguments[2]))
        return Estimated(costs[0].plus(costs[1].union(costs[2])), size)

    def _added(self, node: Call, overload: str, arguments: list[Argument], costs: list[Range]) -> Estimated:
        size = sized(arguments[0]).plus(sized(arguments[1]))
        self._unite(node, *(self._entries_of(argument) for argument in node.arguments))
        return Estimated(_total(costs, ONE if overload == "add_list" else size.scaled(TRAVERSAL)), size)

    def _unite(self, node: Node, one: Entries | None, two: Entries | None) -> None:
        if one is not None and two is not None:
            self._entries[node.id] = Entries(one.is_list, one.key.union(two.key), one.value.union(two.value))

    # Sizes

    def size_at(self, path: tuple[str, ...]) -> Range | None:
        """How large what a path leads to may be."""
        most = self._sizes(path) if path else None
        return None if most is None else Range(0, most)

    def _argument(self, node: Node) -> Argument:
        path = self._path(node)
        return Argument(node, node.type, () if path and path[0] in _ACCUMULATORS else path, self._size(node))

    def _path(self, node: Node) -> tuple[str, ...]:
        if isinstance(node, Name) and (local := self._local(node.name)) is not None:
            return local.path
        return self._paths.get(node.id, ())

    def _size(self, node: Node) -> Range | None:
        if node.id in self._computed:
            return self._computed[node.id]
        if (fixed := _own_size(node)) is not None:
            return Range(fixed, fixed)
        if (found := self.size_at(self._path(node))) is not None:
            self._computed[node.id] = found
            return found
        if _is_scalar(_known(node)):
            return ONE
        local = self._local(node.name) if isinstance(node, Name) else None
        return None if local is None else local.size

    def _size_or_unknown(self, node: Node) -> Range:
        found = self._size(node)
        return UNKNOWN if found is None else found

    def _set_size(self, node: Node, size: Range | None) -> None:
        if size is not None:
            self._computed[node.id] = size

    def _entries_of(self, node: Node) -> Entries | None:
        if node.id in self._entries:
            return self._entries[node.id]
        local = self._local(node.name) if isinstance(node, Name) else None
        return None if local is None else local.entries

    def _copy(self, node: Node, source: Node) -> None:
        self._set_size(node, self._size(source))
        if (entries := self._entries_of(source)) is not None:
            self._entries[node.id] = entries


def standard_cost(overload: str, target: Argument | None, arguments: list[Argument]) -> Estimated:
    """What a standard function costs beside its arguments."""
    if target is not None:
        size = sized(target)
        match overload:
            case "matches_string":
                return Estimated(size.plus(ONE).scaled(TRAVERSAL).times(sized(arguments[0]).scaled(REGEX)))
            case "string_format":
                return Estimated(size.scaled(TRAVERSAL))
            case "contains_string":
                return Estimated(size.scaled(TRAVERSAL).times(sized(arguments[0]).scaled(TRAVERSAL)))
            case "starts_with_string" | "ends_with_string":
                return Estimated(sized(arguments[0]).scaled(TRAVERSAL))
        return Estimated(ONE)
    if overload in _COMPARED:
        most = min(sized(arguments[0]).most, sized(arguments[1]).most)
        return Estimated(Range(1 if most > 0 else 0, most).scaled(TRAVERSAL))
    size = sized(arguments[0]) if arguments else UNKNOWN
    match overload:
        case "string_to_bytes":
            return Estimated(size.scaled(TRAVERSAL), Range(size.least, min(size.most * 4, LIMIT)))
        case "bytes_to_string":
            return Estimated(size.scaled(TRAVERSAL), Range(size.least // 4, size.most))
        case "strings_quote":
            return Estimated(size.scaled(TRAVERSAL), Range(size.least + 2, min(size.most * 2 + 2, LIMIT)))
        case "in_list":
            return Estimated(sized(arguments[1]))
    return Estimated(ONE)


def _total(costs: list[Range], own: Range) -> Range:
    for cost in costs:
        own = own.plus(cost)
    return own


def _own_size(node: Node) -> int | None:
    """The size of what is written out."""
    match node:
        case Literal():
            return len(node.value) if node.kind in ("string", "bytes") else 1
        case List():
            return len(node.items)
        case Struct():
            return None if node.message else len(node.entries)
    return None


def _known(node: Node) -> Type:
    """The type of a value, also of what one of `_ITEMS_OF` finds: the library declares it for lists of all types at once."""
    if node.type.name != "dyn" or not isinstance(node, Call):
        return node.type
    if node.function in _ITEMS_OF and node.target is not None and node.target.type.name == "list":
        return node.target.type.of[0]
    if node.function in _ARITHMETIC and len({_known(argument) for argument in node.arguments}) == 1:
        return _known(node.arguments[0])
    return node.type


def _possible(node: Call) -> tuple[str, ...]:
    """The overloads that the types of the arguments leave."""
    types = {_known(argument).name for argument in node.arguments}
    suffix = _SUFFIXES.get(types.pop()) if len(node.overloads) > 1 and len(types) == 1 else None
    if suffix is None:
        return node.overloads
    return tuple(overload for overload in node.overloads if overload.endswith(suffix)) or node.overloads


def _is_scalar(type_: Type) -> bool:
    return type_.name in _SCALARS or (type_.name == "optional" and bool(type_.of) and _is_scalar(type_.of[0]))
