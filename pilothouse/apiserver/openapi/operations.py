"""What can be done with the kinds that are served, independent of the version of OpenAPI. Pure.

Names follow upstream's, since client generators make their methods of them: `createCoreV1NamespacedPod`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pilothouse.api.gvr import GVR
from pilothouse.api.resource import Resource, Subresource

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
CONNECTED = frozenset({"attach", "exec", "portforward", "proxy"})
_separators = re.compile(r"[^A-Za-z0-9_]+")
_STRATEGIC_PATCH = "application/strategic-merge-patch+json"
_PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    _STRATEGIC_PATCH,
    "application/apply-patch+yaml",
)
_CUSTOM_TYPES = ("application/json", "application/yaml")
_METHODS = {
    "get": "get",
    "list": "get",
    "create": "post",
    "update": "put",
    "patch": "patch",
    "delete": "delete",
    "deletecollection": "delete",
}
_ACTIONS = {"create": "post", "update": "put"}
_PREFIXES = {"get": "read", "update": "replace", "deletecollection": "delete"}
_DONE = {
    "get": "read the specified {}",
    "list": "list or watch objects of kind {}",
    "create": "create {}",
    "update": "replace the specified {}",
    "patch": "partially update the specified {}",
    "delete": "delete {}",
    "deletecollection": "delete collection of {}",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the query or the path."""

    name: str
    type: str
    description: str
    place: str = "query"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `body` and `answer` are names of definitions; an empty `answer` is text."""

    path: str
    method: str
    action: str
    id: str
    gvr: GVR
    kind: tuple[str, str, str]
    """Group, version and kind of what is spoken of."""
    description: str
    parameters: tuple[Parameter, ...] = ()
    body: str = ""
    is_body_required: bool = True
    answer: str = ""
    consumes: tuple[str, ...] = ("*/*",)
    codes: tuple[int, ...] = (200,)


_NAME = Parameter("name", "string", "name of the object", "path")
_NAMESPACE = Parameter("namespace", "string", "the object's namespace", "path")
_PATH = Parameter("path", "string", "path to the resource behind the proxy", "path")
PRETTY = Parameter("pretty", "string", "If 'true', the answer is indented for reading.")
_WRITE = (
    Parameter("dryRun", "string", "`All`: everything is done but storing the result."),
    Parameter("fieldManager", "string", "Who makes the change, for managedFields; at most 128 characters."),
    Parameter(
        "fieldValidation", "string", "What happens to unknown and duplicate fields: `Ignore`, `Warn` or `Strict`."
    ),
)
_FORCE = Parameter("force", "boolean", "For apply patches: take over fields that other managers own.")
_CHOICE = (
    Parameter("continue", "string", "The token of a listing whose next part is wanted."),
    Parameter("fieldSelector", "string", "A selector to restrict the list of returned objects by their fields."),
    Parameter("labelSelector", "string", "A selector to restrict the list of returned objects by their labels."),
    Parameter("limit", "integer", "How many objects one answer has at most."),
    Parameter("resourceVersion", "string", "The revision that the answer is to be of, or at least as new as."),
    Parameter("resourceVersionMatch", "string", "How resourceVersion is meant: `Exact` or `NotOlderThan`."),
    Parameter("sendInitialEvents", "boolean", "For a watch: begin with an event for every object there is."),
    Parameter("timeoutSeconds", "integer", "How long the call may last, whether or not there is anything to tell."),
)
_LIST = (
    Parameter("allowWatchBookmarks", "boolean", "For a watch: send BOOKMARK events, which tell the revision reached."),
    *_CHOICE,
)
_WATCH = Parameter(
    "watch", "boolean", "Watch for changes to the described resources, told as they happen, instead of listing."
)
_DELETE = (
    Parameter("dryRun", "string", "`All`: everything is done but deleting."),
    Parameter("gracePeriodSeconds", "integer", "How long the object has to end; 0 deletes at once."),
    Parameter("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    Parameter("propagationPolicy", "string", "What becomes of dependents: `Orphan`, `Background` or `Foreground`."),
)
_LOG = (
    Parameter("container", "string", "The container; not needed if there is only one."),
    Parameter("follow", "boolean", "Go on as the log grows."),
    Parameter("limitBytes", "integer", "How many bytes to read at most."),
    Parameter("previous", "boolean", "The log of the container's previous instance."),
    Parameter("sinceSeconds", "integer", "How many seconds before now the log begins."),
    Parameter("stream", "string", "`All`, `Stdout` or `Stderr`."),
    Parameter("tailLines", "integer", "How many lines from the end."),
    Parameter("timestamps", "boolean", "Begin each line with its time."),
)
_STREAMS = tuple(
    Parameter(name, "boolean", f"Connect {name}." if name != "tty" else "Allocate a terminal.")
    for name in ("stdin", "stdout", "stderr", "tty")
)
_CONTAINER = Parameter("container", "string", "The container; not needed if there is only one.")
_CONNECT = {
    "attach": (_CONTAINER, *_STREAMS),
    "exec": (Parameter("command", "string", "A word of the command; repeated."), _CONTAINER, *_STREAMS),
    "portforward": (Parameter("ports", "integer", "A port to reach; repeated."),),
    "proxy": (Parameter("path", "string", "The path behind the proxy."),),
}


def operations(gvr: GVR, resource: Resource) -> Iterator[Operation]:
    """All operations of a kind at one of its versions. Of custom kinds the old paths of watches are not told."""
    if "watch" in resource.verbs and resource.merges_strategically:
        yield from _watches(gvr)
    for operation in _operations(gvr, resource):
        if resource.merges_strategically:
            yield operation
        elif operation.method == "patch":
            yield replace(operation, consumes=tuple(each for each in operation.consumes if each != _STRATEGIC_PATCH))
        else:
            yield replace(operation, consumes=_CUSTOM_TYPES)


def _operations(gvr: GVR, resource: Resource) -> Iterator[Operation]:
    place = (_NAMESPACE,) if gvr.namespaced else ()
    collection = gvr.path("{namespace}" if gvr.namespaced else "")
    kind = (gvr.group, gvr.version, gvr.kind)
    scoped = f"Namespaced{gvr.kind}" if gvr.namespaced else gvr.kind
    for verb in ("list", "create", "deletecollection"):
        if verb in resource.verbs:
            yield _operation(gvr, verb, collection, scoped, kind, place)
    if gvr.namespaced and "list" in resource.verbs:
        yield _operation(gvr, "list", gvr.path(), f"{gvr.kind}ForAllNamespaces", kind, ())
    if gvr.namespaced and not resource.is_stored and "create" in resource.verbs and gvr.plural == "bindings":
        return
    item = f"{collection}/{{name}}"
    for verb in ("get", "update", "patch", "delete"):
        if verb in resource.verbs:
            operation = _operation(gvr, verb, item, scoped, kind, (*place, _NAME))
            if verb == "delete" and resource.returns_deleted:
                operation = replace(operation, answer=_definition(kind))
            yield operation
    for subresource in resource.subresources:
        yield from _subresource(gvr, subresource, item, scoped, (*place, _NAME))


def _watches(gvr: GVR) -> Iterator[Operation]:
    """The watches that have paths of their own."""
    kind, place = gvr.kind, (_NAMESPACE,) if gvr.namespaced else ()
    scoped = f"Namespaced{kind}" if place else kind
    collection = gvr.path("{namespace}")
    of_all, of_one = "changes to objects of kind {}", "changes to one object of kind {}"
    ways = [(collection, f"{scoped}List", "watchlist", of_all, place)]
    ways.append((f"{collection}/{{name}}", scoped, "watch", of_one, (*place, _NAME)))
    if place:
        ways.append((gvr.path(), f"{kind}ListForAllNamespaces", "watchlist", of_all, ()))
    start = gvr.path().removesuffix(gvr.plural)
    for path, what, action, done, parameters in ways:
        yield Operation(
            path=path.replace(start, f"{start}watch/", 1),
            method="get",
            action=action,
            id=f"watch{_title(gvr)}{what}",
            gvr=gvr,
            kind=(gvr.group, gvr.version, kind),
            description=f"{done.format(kind)}; deprecated: list with the parameter `watch`",
            parameters=(*parameters, *_LIST, _WATCH),
            answer=f"{META}WatchEvent",
        )


def _subresource(
    gvr: GVR, subresource: Subresource, item: str, scoped: str, place: tuple[Parameter, ...]
) -> Iterator[Operation]:
    path = f"{item}/{subresource.name}"
    title = "".join(part.title() for part in subresource.name.split("-"))
    if subresource.name in CONNECTED:
        parameters = (*place, *_CONNECT[subresource.name])
        yield from _connections(gvr, subresource.verbs, path, f"{scoped}{title}", parameters)
        if subresource.name == "proxy":
            through = (*place, _PATH, *_CONNECT["proxy"])
            yield from _connections(gvr, subresource.verbs, f"{path}/{{path}}", f"{scoped}ProxyWithPath", through)
        return
    kind = (gvr.group, gvr.version, gvr.kind)
    if subresource.kind:
        kind = (subresource.group, subresource.version, subresource.kind)
    for verb in subresource.verbs:
        if verb in _METHODS:
            extra = _LOG if subresource.name == "log" else ()
            yield _operation(gvr, verb, path, f"{scoped}{title}", kind, (*place, *extra))


def _connections(
    gvr: GVR, verbs: Sequence[str], path: str, what: str, parameters: tuple[Parameter, ...]
) -> Iterator[Operation]:
    methods: dict[str, tuple[str, ...]] = {
        "get": ("get",),
        "create": ("post",),
        "update": ("put",),
        "patch": ("patch",),
        "delete": ("delete",),
    }
    if "proxy" in path:
        methods["get"] = ("get", "head", "options")
    title = what.removeprefix("Namespaced").removesuffix("WithPath").replace("Portforward", "PortForward")
    for verb in verbs:
        for method in methods.get(verb, ()):
            yield Operation(
                path=path,
                method=method,
                action="connect",
                id=f"connect{_title(gvr)}{method.title()}{what}",
                gvr=gvr,
                kind=(gvr.group, gvr.version, f"{title}Options"),
                description=f"connect {method.upper()} requests to {path.rpartition('/{name}/')[2]} of {gvr.kind}",
                parameters=parameters,
            )


def _operation(
    gvr: GVR, verb: str, path: str, what: str, kind: tuple[str, str, str], place: tuple[Parameter, ...]
) -> Operation:
    is_log = what.endswith("Log") and verb == "get"
    parameters = {
        "list": (*_LIST, _WATCH),
        "create": _WRITE,
        "update": _WRITE,
        "patch": (*_WRITE, _FORCE),
        "delete": _DELETE,
        "deletecollection": (*_CHOICE, *_DELETE),
    }.get(verb, ())
    spoken = _definition(kind)
    body = {
        "create": spoken,
        "update": spoken,
        "patch": f"{META}Patch",
        "delete": f"{META}DeleteOptions",
        "deletecollection": f"{META}DeleteOptions",
    }.get(verb, "")
    if verb in ("delete", "deletecollection"):
        answer = f"{META}Status"
    elif verb == "list":
        answer = f"{spoken}List"
    else:
        answer = "" if is_log else spoken
    collection = "Collection" if verb == "deletecollection" else ""
    return Operation(
        path=path,
        method=_METHODS[verb],
        action=_ACTIONS.get(verb, verb),
        id=f"{_PREFIXES.get(verb, verb)}{_title(gvr)}{collection}{what}",
        gvr=gvr,
        kind=kind,
        description=_DONE[verb].format(kind[2] if not is_log else "log of a Pod"),
        parameters=(*place, *parameters),
        body=body,
        is_body_required=verb not in ("delete", "deletecollection"),
        answer=answer,
        consumes=_PATCH_TYPES if verb == "patch" else ("*/*",),
        codes={"create": (200, 201, 202), "update": (200, 201), "patch": (200, 201), "delete": (200, 202)}.get(
            verb, (200,)
        ),
    )


def _definition(kind: tuple[str, str, str]) -> str:
    from pilothouse.api.schema.openapi import definition_name

    group, version, name = kind
    api_version = f"{group}/{version}" if group else version
    return definition_name(api_version, name) or (custom_name(group, version, name) if group else "")


def custom_name(group: str, version: str, kind: str) -> str:
    """The definition of a kind that is not built in: `com.example.stable.v1.CronTab`."""
    return ".".join((*reversed(group.split(".")), version, kind))


def group_words(group: str) -> str:
    """`rbac.authorization.k8s.io` as `RbacAuthorization`; the core group as `Core`."""
    if not group:
        return "Core"
    return "".join(part[:1].upper() + part[1:] for part in _separators.split(group.removesuffix(".k8s.io")))


def tag(gvr: GVR) -> str:
    words = group_words(gvr.group)
    return f"{words[:1].lower()}{words[1:]}_{gvr.version}"


def _title(gvr: GVR) -> str:
    return group_words(gvr.group) + gvr.version.title()
