"""Serving the documents: `/openapi/v2`, and `/openapi/v3` with a document for each group version.

A document is made when it is asked for and kept compressed, some 30 KB each, so that a cluster nobody explains anything of pays
nothing. A document's hash is of what it is made from, so the index needs none of them made. OpenAPI 2 is served as JSON and as
protobuf.
Source: kube-openapi `pkg/handler`, `pkg/handler3`.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from pilothouse import __version__
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.negotiate import wishes
from pilothouse.apiserver.openapi import documents, gnostic
from pilothouse.apiserver.openapi.roots import Root, roots
from pilothouse.kit.http.message import Response
from pilothouse.kit.log import get_logger

if TYPE_CHECKING:
    from pilothouse.apiserver.aggregation.description import Described
    from pilothouse.apiserver.crd.kinds import CustomKind

V2_PATH = "/openapi/v2"
V3_PATH = "/openapi/v3"
_JSON = "application/json"
_MEDIA_TYPES = {_JSON: _JSON, "application/*": _JSON, "*/*": _JSON}
_MEDIA_TYPES_2 = {**_MEDIA_TYPES, gnostic.MEDIA_TYPE: gnostic.MEDIA_TYPE, gnostic.OLD_MEDIA_TYPE: gnostic.MEDIA_TYPE}
_VARY = "Accept-Encoding, Accept"
_YEAR_S = 365 * 24 * 3600
log = get_logger("pilothouse.apiserver.openapi")


class OpenApi:
    """The connector of the paths `V2_PATH`, `V3_PATH` and what is below it."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._resources = tuple(resources)
        self._custom: tuple[CustomKind, ...] = ()
        self._remote: tuple[Described, ...] = ()
        self._made: dict[tuple[str, str], bytes] = {}
        self._making = asyncio.Lock()

    def serve_custom(self, kinds: Sequence[CustomKind]) -> None:
        """Describe `kinds`, and only these, beside those that are always there."""
        changed = {_name(kind.resource.gvr) for kind in (*self._custom, *kinds)}
        self._custom = tuple(kinds)
        self._made = {key: made for key, made in self._made.items() if key[0] != "v2" and key[0] not in changed}

    def serve_remote(self, described: Sequence[Described]) -> None:
        """Describe what other servers serve, as they do."""
        self._remote = tuple(described)
        self._made = {key: made for key, made in self._made.items() if key[0] != "v2"}

    async def serve(self, call: Call) -> Response:
        """A group version that is not served is answered with 404 and nothing more, a form that there is not with 406."""
        path = call.info.path
        if path == V3_PATH:
            return self._index()
        is_version_2 = path == V2_PATH
        media_type = _choose(call.request.headers.get("accept", ""), _MEDIA_TYPES_2 if is_version_2 else _MEDIA_TYPES)
        if not media_type:
            return Response(406, {"vary": _VARY if is_version_2 else "Accept"})
        if is_version_2:
            return await self._document(call, "v2", media_type, lambda: self._version_2())
        name = path.removeprefix(f"{V3_PATH}/")
        if name not in self._names and not self._custom_of(name):
            for each in self._remote:
                if name in each.description.version_3:
                    return await each.serve(call)
            return Response(404)
        digest = self._hash(name)
        wanted = parse_qs(call.request.query).get("hash", [""])[0]
        if wanted and wanted != digest:
            headers = {"content-type": media_type, "vary": "Accept", "etag": f'"{digest}"'}
            return Response(301, {**headers, "location": f"{V3_PATH}/{name}?hash={digest}"})
        response = await self._document(call, name, media_type, lambda: self._version_3(name))
        if wanted:
            response.headers = {**response.headers, "cache-control": f"public, immutable, max-age={_YEAR_S}"}
        return response

    def _index(self) -> Response:
        paths = {
            name: {"serverRelativeURL": f"{V3_PATH}/{name}?hash={self._hash(name)}"}
            for name in {*self._names, *(_name(kind.resource.gvr) for kind in self._custom)}
        }
        for each in reversed(self._remote):
            for name, url in each.description.version_3.items():
                paths.setdefault(name, {"serverRelativeURL": url})
        paths = dict(sorted(paths.items()))
        # Upstream leaves it to Go to guess what this is.
        return Response(200, {"content-type": "text/plain; charset=utf-8"}, orjson.dumps({"paths": paths}))

    def _version_2(self) -> Object:
        own = self._own_version_2()
        remote = [each.description for each in self._remote if each.description.version_2]
        if not remote:
            return own
        from pilothouse.apiserver.openapi.merge import merged

        return merged(own, filter(_is_document, (description.document() for description in remote)))

    def _own_version_2(self) -> Object:
        if not self._custom:
            return documents.version_2(self._served(""), roots=self._roots)
        from pilothouse.apiserver.crd import openapi

        return documents.version_2(self._served(""), openapi.definitions(self._custom, 2), self._roots)

    def _version_3(self, name: str) -> Object:
        custom = self._custom_of(name)
        told = [root for root in self._roots if root.document == name]
        if not custom:
            return documents.version_3(self._served(name), roots=told)
        from pilothouse.apiserver.crd import openapi

        return documents.version_3(self._served(name), openapi.definitions(custom, 3), openapi.REFERENCES, told)

    def _custom_of(self, name: str) -> list[CustomKind]:
        return [kind for kind in self._custom if _name(kind.resource.gvr) == name]

    async def _document(self, call: Call, name: str, media_type: str, make: Callable[[], Object]) -> Response:
        etag = f'"{self._hash(name)}"'
        headers = {"content-type": media_type, "etag": etag, "vary": _VARY}
        if call.request.headers.get("if-none-match", "") == etag:
            return Response(304, headers)
        async with self._making:
            packed = self._made.get((name, media_type))
            if packed is None:
                packed = self._made[name, media_type] = await asyncio.to_thread(_pack, make, _ENCODERS[media_type])
        if "gzip" in call.request.headers.get("accept-encoding", ""):
            return Response(200, {**headers, "content-encoding": "gzip"}, packed)
        return Response(200, headers, gzip.decompress(packed))

    @cached_property
    def _roots(self) -> tuple[Root, ...]:
        own = (gvr for resource in self._resources for gvr in resource.served)
        return tuple(roots((gvr.group, gvr.version) for gvr in own))

    @cached_property
    def _names(self) -> frozenset[str]:
        """`api/v1`, `apis/apps/v1` and so on, and the documents of paths that belong to no kind."""
        return frozenset(root.document for root in self._roots)

    def _served(self, name: str) -> list[tuple[GVR, Resource]]:
        """The kinds of a group version; all of them for an empty name."""
        custom = (kind.resource for kind in self._custom)
        return [
            (gvr, resource)
            for resource in (*self._resources, *custom)
            for gvr in resource.served
            if not name or _name(gvr) == name
        ]

    @cached_property
    def _sources(self) -> bytes:
        """A digest of what the documents are made from: the program's version, the data, the kinds."""
        from pilothouse.api.schema.types import DATA

        digest = hashlib.sha256(__version__.encode())
        for file in ("structure.json", "descriptions.json"):
            digest.update((DATA / file).read_bytes())
        for resource in self._resources:
            for gvr in resource.served:
                digest.update(repr((gvr, resource.verbs, resource.subresources)).encode())
        return digest.digest()

    def _hash(self, name: str) -> str:
        custom = self._custom if name == "v2" else self._custom_of(name)
        states = "".join(f" {kind.schema.name}@{kind.since}" for kind in custom)
        if name == "v2":
            states += "".join(f" {each.description.digest}" for each in self._remote)
        return hashlib.sha512(self._sources + f"{name}{states}".encode()).hexdigest().upper()


def _is_document(document: Mapping[str, Any]) -> bool:
    """Whether a document of another server can be written in all forms: one that cannot must not spoil all others."""
    try:
        gnostic.encode(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        log.error("an OpenAPI document of an extension server cannot be read", reason=repr(error))
        return False
    return True


_ENCODERS: Mapping[str, Callable[[Object], bytes]] = {_JSON: orjson.dumps, gnostic.MEDIA_TYPE: gnostic.encode}


def _pack(make: Callable[[], Object], encode: Callable[[Object], bytes]) -> bytes:
    return gzip.compress(encode(make()), 6, mtime=0)


def _name(gvr: GVR) -> str:
    return f"apis/{gvr.group}/{gvr.version}" if gvr.group else f"api/{gvr.version}"


def _choose(accept: str, media_types: Mapping[str, str]) -> str:
    """The media type of the answer; empty if there is none that is wanted."""
    for wish, _ in wishes(accept or "*/*"):
        if wish in media_types:
            return media_types[wish]
    return ""
