"""What the functions cost that Kubernetes adds to CEL. Source: apiserver `cel/library/cost.go`."""

from __future__ import annotations

import math

from pilothouse.api.cel.ast import Literal
from pilothouse.api.cel.cost_terms import (
    LIMIT,
    ONE,
    REGEX,
    TRAVERSAL,
    UNKNOWN,
    ZERO,
    Argument,
    Estimated,
    Range,
    SizeAt,
    sized,
)

CHECK = 350_000
"""Asking an authorizer: as much as a third of a second of anything else."""
_MAX_FORMAT_REGEX = 128
_MAX_FORMAT_NAME = 64
_FIXED = frozenset(
    (
        *(
            "serviceAccount",
            "path",
            "group",
            "resource",
            "subresource",
            "namespace",
            "name",
            "allowed",
            "reason",
            "error",
        ),
        *("errored", "masked", "prefixLength", "family", "isUnspecified", "isLoopback", "isLinkLocalMulticast"),
        *(
            "isLinkLocalUnicast",
            "isGlobalUnicast",
            "format.named",
            "sign",
            "asInteger",
            "isInteger",
            "asApproximateFloat",
        ),
        *("isGreaterThan", "isLessThan", "compareTo", "add", "sub", "major", "minor", "patch"),
        *("getScheme", "getHostname", "getHost", "getPort", "getEscapedPath", "getQuery"),
    )
)
_OVER_LISTS = frozenset({"isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"})
_PARSING = frozenset({"cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"})
_KEEPING = frozenset({"lowerAscii", "upperAscii", "substring", "trim"})
_EQUAL_AT_ONCE = frozenset(
    {
        *("net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver"),
        *(
            f"kubernetes.authorization.{name}"
            for name in ("Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision")
        ),
    }
)


def call_cost(function: str, target: Argument | None, arguments: list[Argument], size_at: SizeAt) -> Estimated | None:
    """What a call costs beside its arguments; None for a function that is not Kubernetes'."""
    if function in _FIXED:
        return Estimated(ONE)
    if function == "check":
        return Estimated(Range(CHECK, CHECK))
    if function == "_==_":
        return _equality(arguments)
    if target is not None:
        return _method_cost(function, target, arguments, size_at)
    return _function_cost(function, arguments) if arguments else None


def _function_cost(function: str, arguments: list[Argument]) -> Estimated | None:
    size = sized(arguments[0])
    if function in ("url", "jsonpatch.escapeKey"):
        return Estimated(size.scaled(TRAVERSAL), size)
    if function in _PARSING or function == "ip":
        return Estimated(size.scaled(TRAVERSAL))
    if function == "ip.isCanonical":
        return Estimated(size.scaled(2 * TRAVERSAL))
    return None


def _method_cost(function: str, target: Argument, arguments: list[Argument], size_at: SizeAt) -> Estimated | None:
    size = sized(target)
    if function in _OVER_LISTS:
        return _over_list(target, size_at)
    if function in _KEEPING:
        return Estimated(size.scaled(TRAVERSAL), size)
    match function:
        case "ip":
            return Estimated(ONE)
        case "fieldSelector" | "labelSelector":
            return Estimated(_selector_cost(sized(arguments[0])))
        case "replace" if len(arguments) >= 2:
            return Estimated(size.scaled(2 * TRAVERSAL), _replaced(size, *map(sized, arguments[:2])))
        case "split":
            return Estimated(size.scaled(2 * TRAVERSAL), Range(0, _split_limit(size.most, arguments)))
        case "join":
            return _joined(target, arguments, size_at)
        case "find" | "findAll":
            pattern = sized(arguments[0]).scaled(REGEX)
            return Estimated(size.plus(ONE).scaled(TRAVERSAL).times(pattern), Range(0, size.most))
        case "containsIP" | "containsCIDR":
            return _containment(function, arguments[0])
        case "validate":
            return Estimated(sized(arguments[0]).scaled(TRAVERSAL).scaled(_MAX_FORMAT_REGEX * REGEX))
    return None


def _over_list(target: Argument, size_at: SizeAt) -> Estimated:
    size = sized(target)
    if target.type.name != "list":
        # `indexOf` of a text.
        return Estimated(size.scaled(TRAVERSAL))
    each = ONE
    if target.type.of[0].name in ("string", "bytes"):
        each = each.plus(_item_size(target, size_at).scaled(TRAVERSAL))
    return Estimated(size.times(each))


def _item_size(target: Argument, size_at: SizeAt) -> Range:
    found = size_at((*target.path, "@items")) if target.path else None
    return UNKNOWN if found is None else found


def _selector_cost(size: Range) -> Range:
    """Of a selector that is parsed: as many requirements as it has characters for."""
    return Range(10, 10).plus(size.scaled(TRAVERSAL)).plus(size.scaled(0.5).scaled(50.0))


def _replaced(text: Range, old: Range, new: Range) -> Range:
    if old.least == 0:
        most, kept_most = min(text.most + 1, LIMIT), text.most
    elif new.most <= old.least:
        most, kept_most = 0, text.most
    else:
        most, kept_most = math.ceil(text.most / old.least), 0
    if old.most == 0:
        least, kept_least = min(text.least + 1, LIMIT), text.least
    elif old.most <= new.least:
        least, kept_least = 0, text.least
    else:
        least, kept_least = math.ceil(text.least / old.most), 0
    return Range(least, most).times(new).plus(Range(kept_least, kept_most))


def _split_limit(most: int, arguments: list[Argument]) -> int:
    limit = arguments[1].node if len(arguments) > 1 else None
    if isinstance(limit, Literal) and limit.kind == "int":
        return int(limit.value) & LIMIT
    return most


def _joined(target: Argument, arguments: list[Argument], size_at: SizeAt) -> Estimated:
    count = sized(target)
    size = count.times(_item_size(target, size_at)) if target.type.name == "list" else ZERO
    if arguments:
        size = size.plus(sized(arguments[0]).times(Range(max(count.least - 1, 0), max(count.most - 1, 0))))
    return Estimated(size.scaled(TRAVERSAL), size)


def _containment(function: str, other: Argument) -> Estimated:
    address = Range(4, 16)
    cost = address.plus(address).scaled(TRAVERSAL)
    if function == "containsCIDR":
        cost = cost.plus(address.scaled(TRAVERSAL)).plus(ONE)
    if other.type.name == "string":
        cost = cost.plus(sized(other).scaled(TRAVERSAL))
    return Estimated(cost)


def _equality(arguments: list[Argument]) -> Estimated | None:
    one, two = arguments
    if one.type != two.type or one.type.name != "message":
        return None
    if one.type.message in _EQUAL_AT_ONCE:
        return Estimated(ONE)
    if one.type.message == "kubernetes.NamedFormat":
        return Estimated(Range(1, _MAX_FORMAT_NAME).scaled(TRAVERSAL))
    if one.type.message == "kubernetes.URL":
        return Estimated(Range(1, 1 if two.size is None else two.size.most).scaled(TRAVERSAL))
    return None
