"""What a request is about, read from its method, path and query alone.

Source: apiserver `pkg/endpoints/request/requestinfo.go`. Every later link of the chain decides on this value: authorization, fairness,
audit and the choice of the verb.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote_plus

from pilothouse.api.field_selector import parse_fields
from pilothouse.api.names import path_segment
from pilothouse.api.status import BadRequest
from pilothouse.apiserver.errors import FilterFailed
from pilothouse.kit.remembered import remembered

Query = Mapping[str, str]
"""Query parameters; of a parameter given more than once, the first value, as upstream reads single-valued options."""

NO_QUERY: Query = MappingProxyType({})
_VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_VERBS_WITH_SELECTORS = frozenset({"list", "watch", "deletecollection"})


class RequestInfo(NamedTuple):
    """A request as authorization sees it. For a non-resource request only `path` and `verb` (the method in lower case) count."""

    is_resource: bool
    path: str
    verb: str
    api_prefix: str = ""
    api_group: str = ""
    api_version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    subpath: str = ""
    """What follows the subresource, without a leading slash (of a proxy request)."""
    field_selector: str = ""
    label_selector: str = ""

    @property
    def group_resource(self) -> str:
        return f"{self.resource}.{self.api_group}" if self.api_group else self.resource


def request_info(method: str, path: str, query: Query) -> RequestInfo:
    """Raises FilterFailed for a path under the deprecated `watch` and `proxy` verbs that names no resource."""
    parts = path.strip("/").split("/")
    if len(parts) < 3 or parts[0] not in ("api", "apis") or path.startswith("//"):
        return RequestInfo(False, path, method.lower())
    if parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) < 4:
        return RequestInfo(False, path, method.lower())
    else:
        group, version, rest = parts[1], parts[2], parts[3:]
    verb = _VERBS.get(method, "")
    by_prefix = rest[0] in ("watch", "proxy")
    if by_prefix:
        if len(rest) < 2:
            raise FilterFailed(f"failed to create RequestInfo: unable to determine kind and namespace from url, {path}")
        verb, rest = rest[0], rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 and verb != "proxy" else ""
    subpath = "/".join(rest[3:]) if len(rest) > 3 else ""
    field_selector = label_selector = ""
    if not name:
        if verb == "get":
            verb = "watch" if is_true(query.get("watch", "false")) else "list"
        elif verb == "delete":
            verb = "deletecollection"
        if not by_prefix and verb in _VERBS_WITH_SELECTORS and query:
            field_selector = query.get("fieldSelector", "")
            label_selector = query.get("labelSelector", "")
            if field_selector and verb != "deletecollection":
                name = _single_name(field_selector)
    return RequestInfo(
        True,
        path,
        verb,
        parts[0],
        group,
        version,
        namespace,
        rest[0],
        subresource,
        name,
        subpath,
        field_selector,
        label_selector,
    )


def _plain(method: str) -> Callable[[str], RequestInfo]:
    @remembered(2048)
    def request_info_of(path: str) -> RequestInfo:
        return request_info(method, path, NO_QUERY)

    return request_info_of


PLAIN_REQUEST_INFO = {method: _plain(method) for method in _VERBS}
"""By the method, the same of a path without a query: what is asked for again and again, such as a Lease, is looked up."""


def _single_name(field_selector: str) -> str:
    """The one name that a field selector allows, or empty. A selector that cannot be read is refused later, by its verb."""
    try:
        name = parse_fields(field_selector).exact_value("metadata.name")
    except BadRequest:
        return ""
    return name if name and not path_segment(name) else ""


_malformed = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_LONG_RUNNING_VERBS = frozenset({"watch", "proxy"})
_LONG_RUNNING = frozenset({"attach", "exec", "proxy", "log", "portforward"})


def is_long_running(info: RequestInfo) -> bool:
    """Whether a request has no set end. Source: `pkg/controlplane/apiserver/config.go`, `LongRunningFunc`."""
    if info.is_resource:
        return info.verb in _LONG_RUNNING_VERBS or (info.subresource != "" and info.subresource in _LONG_RUNNING)
    return info.path.startswith("/debug/pprof/")


def is_true(text: str) -> bool:
    """Upstream's reading of a boolean option: everything but `false` and `0` is true, also the empty value."""
    return text.lower() not in ("false", "0")


def parse_query(text: str) -> Query:
    return _parse_query(text) if text else NO_QUERY


@remembered(1024)
def _parse_query(text: str) -> Query:
    parameters: dict[str, str] = {}
    for part in text.split("&"):
        if ";" in part or _malformed(part):
            # Go's reader leaves out what it cannot read.
            continue
        name, _, value = part.partition("=")
        if name:
            parameters.setdefault(unquote_plus(name), unquote_plus(value))
    return MappingProxyType(parameters)
