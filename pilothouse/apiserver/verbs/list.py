"""LIST of a collection, whole or in pages that all show one state.

Source: apiserver `pkg/storage/continue.go`, `reference/using-api/api-concepts`.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace

import orjson

from pilothouse.api.field_selector import parse_fields
from pilothouse.api.status import BadRequest, Expired
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.options import ListOptions, list_options, revision_of
from pilothouse.apiserver.present import list_response
from pilothouse.kit.http.message import Response
from pilothouse.store.base import Revision
from pilothouse.store.cacher import Cacher, Listing

_TOKEN_VERSION = "meta.k8s.io/v1"
_LATEST = -1
"""A token's revision that says: go on with the present state."""
_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue "
    "parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided "
    "token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was "
    "returned and now may show up in the list."
)


async def list_(call: Call, endpoint: Endpoint, now: float) -> Response:
    """Raises BadRequest, Invalid, Expired, Timeout."""
    options = named_options(call, list_options(call.query, is_watch=False))
    endpoint.check_selectable(options.fields)
    cacher = await endpoint.cacher()
    namespace = call.info.namespace if endpoint.gvr.namespaced else ""
    listing = await read(cacher, namespace, options)
    return await list_response(call, endpoint, listing, next_token(cacher, namespace, listing), now)


def named_options(call: Call, options: ListOptions) -> ListOptions:
    """`options` with the name that the path demands, for the deprecated paths that watch one object."""
    name = call.info.name
    if not name:
        return options
    if options.fields is None or options.fields.is_everything:
        return replace(options, fields=parse_fields(f"metadata.name={name}"))
    if options.fields.exact_value("metadata.name") != name:
        raise BadRequest("fieldSelector metadata.name doesn't match requested name")
    return options


async def read(cacher: Cacher, namespace: str, options: ListOptions) -> Listing:
    """The page that `options` ask for, by upstream's rules for `resourceVersion` and `resourceVersionMatch`.

    Who takes any state (0) gets all of it, whatever the limit: caches of clients begin so.
    """
    after = ""
    at: Revision | None = None
    wanted = revision_of(options.resource_version)
    limit = 0 if options.resource_version == "0" else max(options.limit, 0)
    if options.continue_token:
        revision, after = parse_token(options.continue_token, namespace)
        if wanted:
            raise BadRequest("specifying resource version is not allowed when using continue")
        at = None if revision < 0 else Revision(revision)
        await cacher.fresh()
    elif not options.resource_version:
        await cacher.fresh()
    elif options.resource_version_match == "Exact" or (wanted and limit and not options.resource_version_match):
        at = wanted
    elif wanted:
        await cacher.reach(wanted)
    if at is None:
        return cacher.list(namespace, labels=options.labels, fields=options.fields, after=after, limit=limit)
    try:
        return await cacher.list_at(
            at, namespace, labels=options.labels, fields=options.fields, after=after, limit=limit
        )
    except Expired:
        if not options.continue_token:
            raise
        raise Expired(_EXPIRED, continue_token=_token(_LATEST, _start(after, namespace))) from None


def next_token(cacher: Cacher, namespace: str, listing: Listing) -> str:
    """With which the list goes on after `listing`; empty if that was the end."""
    if not listing.has_more:
        return ""
    return _token(listing.revision, _start(listing.items[-1].key.removeprefix(cacher.prefix), namespace))


def _start(after: str, namespace: str) -> str:
    """What a token says of the key to go on after: within the namespace of the request, if it has one."""
    return after.removeprefix(namespace) if namespace else after


def _token(revision: int, start: str) -> str:
    token = {"v": _TOKEN_VERSION, "rv": revision, "start": start + "\0"}
    return urlsafe_b64encode(orjson.dumps(token)).rstrip(b"=").decode()


def parse_token(token: str, namespace: str) -> tuple[int, str]:
    """The revision (negative: the present one) and the `namespace/name` to go on after. Raises BadRequest."""
    try:
        text = _decode_base64(token)
    except ValueError as error:
        raise _bad_token(str(error)) from None
    try:
        decoded = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _bad_token(_fault_of(text)) from None
    version = decoded.get("v", "") if isinstance(decoded, dict) else ""
    if version != _TOKEN_VERSION:
        raise _bad_token(f"server does not recognize this encoded version {version}")
    revision, start = decoded.get("rv", 0), decoded.get("start", "")
    if not isinstance(revision, int) or not isinstance(start, str):
        raise _bad_token("json: cannot unmarshal a field of continueToken")
    if not revision:
        raise _bad_token(f"incorrect encoded start resourceVersion (version {_TOKEN_VERSION})")
    if not start:
        raise _bad_token(f"encoded start key empty (version {_TOKEN_VERSION})")
    path = start.removeprefix("/")
    if not path or any(part in ("", ".", "..") for part in path.split("/")):
        raise _bad_token(start)
    after = path.removesuffix("\0")
    return revision, f"{namespace}/{after}" if namespace else after


def _fault_of(text: bytes) -> str:
    """What is wrong with a text that is no JSON, as upstream's reader says it."""
    from pilothouse.api import json_text

    try:
        json_text.decode(text)
    except json_text.Fault as fault:
        return str(fault)
    return "it is not UTF-8"


def _decode_base64(token: str) -> bytes:
    """Strictly: `base64` passes over what it does not know. Raises ValueError."""
    for position, char in enumerate(token):
        if not (char.isascii() and (char.isalnum() or char in "-_")):
            raise ValueError(f"illegal base64 data at input byte {position}")
    if len(token) % 4 == 1:
        raise ValueError(f"illegal base64 data at input byte {len(token) - 1}")
    return urlsafe_b64decode(token + "=" * (-len(token) % 4))


def _bad_token(why: str) -> BadRequest:
    return BadRequest(f"invalid continue token: continue key is not valid: {why}")
