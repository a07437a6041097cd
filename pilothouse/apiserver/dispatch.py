"""Where requests end: at a kind and what is done with it, at a subresource, or at a path that belongs to no kind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping

from pilothouse.api import status
from pilothouse.api.gvr import GVR
from pilothouse.apiserver.address import COLLECTION_READS, check_address
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.errors import could_not_find, method_not_allowed, page_not_found
from pilothouse.apiserver.route import RequestInfo
from pilothouse.apiserver.seams import Answerer, Connector
from pilothouse.apiserver.subresources.table import Subhandler
from pilothouse.apiserver.verbs.answer import answer
from pilothouse.apiserver.verbs.create import create
from pilothouse.apiserver.verbs.delete import delete, delete_collection
from pilothouse.apiserver.verbs.get import get
from pilothouse.apiserver.verbs.list import list_
from pilothouse.apiserver.verbs.patch import patch
from pilothouse.apiserver.verbs.update import update
from pilothouse.apiserver.verbs.watch import watch
from pilothouse.apiserver.websocket import events_over_websocket
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.message import Response

_EXACT_PATHS = ("/metrics", "/openapi/v2")
"""What is no other name of these with a slash at its end."""
_EFFECTIVE_VERBS = frozenset({"create", "update", "patch"})


class Dispatch:
    """`endpoints` are by group, version and plural; `delegates`, who serve in this server's place, by `/apis/<group>/<version>`; `paths`
    by the whole path, or by its beginning up to a slash.

    All may change at any time. `own_groups` are those whose kinds are built in.
    """

    def __init__(
        self,
        *,
        own_groups: Iterable[str],
        answerers: Mapping[tuple[str, str, str], Answerer],
        connectors: Mapping[tuple[str, str, str], Connector],
        subhandlers: Mapping[tuple[str, str, str], Subhandler],
        paths: Mapping[str, Connector],
        write_warnings: Mapping[GVR, str],
        clock: Clock,
        rng: random.Random,
        min_watch_s: float,
    ) -> None:
        self.endpoints: dict[tuple[str, str, str], Endpoint] = {}
        self.delegates: dict[str, Connector] = {}
        self._own_groups = frozenset(own_groups)
        self._answerers = dict(answerers)
        self._connectors = dict(connectors)
        self._subhandlers = subhandlers
        self.paths = dict(paths)
        self._write_warnings = write_warnings
        self._clock = clock
        self._rng = rng
        self._min_watch_s = min_watch_s

    async def serve(self, call: Call) -> Response:
        """Raises StatusError."""
        info = call.info
        if self.delegates:
            delegate = self.delegates.get("/".join(info.path.split("/", 4)[:4]))
            if delegate is not None:
                return await delegate(call)
        if not info.is_resource:
            return await self._serve_path(call)
        endpoint = self.endpoints.get((info.api_group, info.api_version, info.resource))
        if endpoint is None:
            return self._unknown_resource(info)
        check_address(endpoint, info, call.request.method)
        call.series = endpoint.series
        if call.request.method == "HEAD" and not info.subresource and not endpoint.is_custom:
            raise method_not_allowed()
        if endpoint.resource.deprecation:
            call.is_deprecated = True
            call.warnings.append(endpoint.resource.deprecation)
        if info.subresource:
            return await self._serve_subresource(call, endpoint)
        if self._write_warnings and info.verb in _EFFECTIVE_VERBS:
            warning = self._write_warnings.get(endpoint.resource.gvr)
            if warning is not None:
                call.warnings.append(warning)
        accept = call.request.headers.get("accept", "")
        call.output = endpoint.output(accept, is_watchable=info.verb in COLLECTION_READS)
        now = self._clock.now()
        match info.verb:
            case "get":
                return await get(call, endpoint, now)
            case "list":
                return await list_(call, endpoint, now)
            case "watch":
                return await events_over_websocket(call, await watch(call, endpoint, self._clock, self._watch_s()))
            case "patch":
                return await patch(call, endpoint, now)
            case "update":
                return await update(call, endpoint, now)
            case "create":
                key = (info.api_group, info.resource, "")
                if key in self._answerers:
                    return await answer(call, endpoint, self._answerers[key], now)
                return await self._subhandlers.get(key, create)(call, endpoint, now)
            case "delete":
                return await delete(call, endpoint, now)
            case "deletecollection":
                return await delete_collection(call, endpoint, now)
        raise method_not_allowed()

    async def _serve_subresource(self, call: Call, endpoint: Endpoint) -> Response:
        info = call.info
        subresource = endpoint.subresources.get(info.subresource)
        if subresource is None or (info.subpath and not (subresource.passes_methods or endpoint.is_custom)):
            raise could_not_find()
        if call.request.method == "HEAD" and not (subresource.passes_methods or endpoint.is_custom):
            raise method_not_allowed()
        if info.verb not in subresource.verbs and not subresource.passes_methods:
            raise method_not_allowed()
        key = (info.api_group, info.resource, info.subresource)
        connector = self._connectors.get(key)
        if connector is not None:
            await asyncio.sleep(0)
            return await connector(call)
        call.output = endpoint.output(call.request.headers.get("accept", ""), subresource)
        answerer = self._answerers.get(key)
        if answerer is not None:
            return await answer(call, endpoint.of(subresource), answerer, self._clock.now())
        now = self._clock.now()
        subhandler = self._subhandlers.get(key) or self._subhandlers.get(("", "*", info.subresource))
        if subhandler is not None:
            return await subhandler(call, endpoint, now)
        if info.subresource == "status":
            verb = {"get": get, "update": update, "patch": patch}[info.verb]
            return await verb(call, endpoint, now)
        raise status.StatusError(
            f"{info.group_resource}/{info.subresource} is not served by this server", code=501, reason="NotImplemented"
        )

    def _unknown_resource(self, info: RequestInfo) -> Response:
        """Upstream's router knows the paths of the groups that it serves itself, and of the others nothing."""
        if info.api_group in self._own_groups:
            raise could_not_find()
        return page_not_found()

    async def _serve_path(self, call: Call) -> Response:
        """Which methods a path takes is its handler's affair; most of upstream's do not look."""
        path = call.info.path
        handler = self.paths.get(path)
        if handler is None and not path.startswith(_EXACT_PATHS):
            handler = self.paths.get(path.rstrip("/"))
        if handler is None:
            parts = path.split("/")
            for length in range(len(parts) - 1, 1, -1):
                handler = self.paths.get("/".join(parts[:length]) + "/")
                if handler is not None:
                    break
        if handler is None:
            return page_not_found()
        await asyncio.sleep(0)
        return await handler(call)

    def _watch_s(self) -> float:
        """How long a watch lasts that does not say so itself: clients must not all come back at once."""
        return self._min_watch_s * (1 + self._rng.random())
