"""The API server: the chain that a request goes through, in order, and what it is made of.

RequestInfo → authenticate → impersonate → audit → fairness → authorize → verb.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api import status
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource
from pilothouse.api.user import User
from pilothouse.apiserver import metadata
from pilothouse.apiserver.attributes import Admission
from pilothouse.apiserver.authn.bearer import WARNINGS
from pilothouse.apiserver.call import Authorizer, Call
from pilothouse.apiserver.deadline import REQUEST_TIMEOUT_S, RequestTimedOut, time_allowed_s, within
from pilothouse.apiserver.dispatch import Dispatch
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.errors import (
    FilterFailed,
    PageNotFound,
    Rejected,
    filter_failure,
    internal,
    page_not_found,
    unavailable,
)
from pilothouse.apiserver.lifecycle import Lifecycle
from pilothouse.apiserver.metrics.events import families as watch_families
from pilothouse.apiserver.metrics.page import Page, build, this_process
from pilothouse.apiserver.metrics.requests import RequestMetrics
from pilothouse.apiserver.present import error_response
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.route import NO_QUERY, PLAIN_REQUEST_INFO, parse_query, request_info
from pilothouse.apiserver.seams import Answerer, Auditor, Authenticator, Connector, Fairness, Impersonator
from pilothouse.apiserver.subresources.table import subhandlers
from pilothouse.apiserver.translation import Translation
from pilothouse.apiserver.verbs.watch import MIN_TIMEOUT_S
from pilothouse.apiserver.warning import warning_header
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.message import Request, Response
from pilothouse.kit.http.resumed import Resumed
from pilothouse.kit.log import get_logger
from pilothouse.kit.metrics import Family
from pilothouse.store.base import StoreUnavailable
from pilothouse.store.cached import Cached
from pilothouse.store.cachers import Cachers

_NO_HEADERS: Mapping[str, str] = {}
_NOBODY = User("")
_READS = frozenset({"get", "list", "watch"})
_COUNTED_PATHS = frozenset({"/healthz", "/livez", "/readyz"})
_PLAIN_TEXT = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}
_REJECTION = b"Too many requests, please try again later.\n"
log = get_logger("pilothouse.apiserver")


class ApiServer:
    """Answers requests. It has no sockets and starts no tasks: a `kit.http.server.Server` or an in-process transport calls `handle`.

    `answerers` are keyed by (group, plural, subresource), `connectors` likewise; `paths` by the path, or by its beginning up to a
    slash (`/openapi/`). `lifecycles` may be filled until the first request. `write_warnings` go to who
    creates, updates or patches an object of a kind.
    """

    def __init__(
        self,
        cachers: Cachers,
        resources: Sequence[Resource],
        *,
        authenticator: Authenticator,
        authorizer: Authorizer,
        admission: Admission,
        clock: Clock,
        rng: random.Random,
        impersonator: Impersonator | None = None,
        fairness: Fairness | None = None,
        auditor: Auditor | None = None,
        lifecycles: Mapping[GVR, Lifecycle] | None = None,
        ttl_s: Mapping[GVR, float] | None = None,
        answerers: Mapping[tuple[str, str, str], Answerer] | None = None,
        connectors: Mapping[tuple[str, str, str], Connector] | None = None,
        paths: Mapping[str, Connector] | None = None,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        min_watch_s: float = MIN_TIMEOUT_S,
        write_warnings: Mapping[GVR, str] | None = None,
    ) -> None:
        self.cachers = cachers
        self.resources = tuple(resources)
        self.background: list[Callable[[], Coroutine[Any, Any, None]]] = []
        """What `run` does."""
        self.is_stopping = False
        """Whether the server is about to stop: it is not ready any more, and still serves."""
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._admission = admission
        self._clock = clock
        self._rng = rng
        self._impersonator = impersonator
        self._fairness = fairness
        self._auditor = auditor
        self._lifecycles = {} if lifecycles is None else lifecycles
        self._ttl_s = ttl_s or {}
        self._request_timeout_s = request_timeout_s
        self._counted = RequestMetrics(clock)
        self.metrics = Page(self._counted.families, self._watch_families, build, this_process(clock.now()))
        """What `/metrics` shows; parts of the server add to it."""
        self._registries: dict[GVR, Registry] = {}
        dispatch = Dispatch(
            own_groups={gvr.group for resource in resources for gvr in resource.served},
            answerers=answerers or {},
            connectors=connectors or {},
            subhandlers=subhandlers(self.registry),
            paths={"/metrics": self.metrics.serve, **(paths or {})},
            write_warnings=write_warnings or {},
            clock=clock,
            rng=rng,
            min_watch_s=min_watch_s,
        )
        self._serve = dispatch.serve
        self._endpoints = dispatch.endpoints
        self.paths = dispatch.paths
        self.delegates = dispatch.delegates
        """Who serves the requests under `/apis/<group>/<version>` in this server's place."""
        for resource in resources:
            for gvr in resource.served:
                self._endpoints[gvr.group, gvr.version, gvr.plural] = Endpoint(
                    resource,
                    gvr,
                    lambda resource=resource: self.registry(resource),  # type: ignore[misc]
                )

    def serve(self, endpoints: Iterable[Endpoint]) -> None:
        """Serve `endpoints` from now on, in the place of those with the same group, version and plural."""
        for endpoint in endpoints:
            gvr = endpoint.gvr
            self._endpoints[gvr.group, gvr.version, gvr.plural] = endpoint

    def withdraw(self, kinds: Iterable[GVR]) -> None:
        """Stop serving `kinds`; requests that are being answered go on."""
        for gvr in kinds:
            self._endpoints.pop((gvr.group, gvr.version, gvr.plural), None)

    async def custom_registry(
        self,
        resource: Resource,
        stored: Resource,
        read: Callable[[Cached], Object],
        lifecycle: Lifecycle | None,
        translation: Translation | None = None,
    ) -> Registry:
        """A registry of one version of a kind, whose objects are cached as `stored`. Raises StoreUnavailable."""
        return Registry(
            resource,
            self.cachers.store,
            await self.cachers.of(stored),
            clock=self._clock,
            rng=self._rng,
            admission=self._admission,
            lifecycle=lifecycle,
            read=read,
            translation=translation,
        )

    async def run(self) -> None:
        """Do, until cancelled, what the server does beside answering requests."""
        async with asyncio.TaskGroup() as tasks:
            for work in self.background:
                tasks.create_task(work())
            await asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Read the objects of every kind that is stored, so that the first requests need not wait. Raises StoreUnavailable."""
        for resource in self.resources:
            if resource.is_stored:
                await self.registry(resource)

    async def stop(self) -> None:
        """End all watches. Idempotent."""
        self.cachers.close()

    async def registry(self, resource: Resource) -> Registry:
        """The registry of a kind. Raises StoreUnavailable."""
        registry = self._registries.get(resource.gvr)
        if registry is None:
            cacher = await self.cachers.of(resource)
            registry = self._registries.setdefault(
                resource.gvr,
                Registry(
                    resource,
                    self.cachers.store_of(resource),
                    cacher,
                    clock=self._clock,
                    rng=self._rng,
                    admission=self._admission,
                    lifecycle=self._lifecycles.get(resource.gvr),
                    ttl_s=self._ttl_s.get(resource.gvr),
                ),
            )
        return registry

    def served(self, group: str, version: str, plural: str) -> Endpoint | None:
        """Where requests for a kind end, as a path names it."""
        return self._endpoints.get((group, version, plural))

    def endpoint(self, gvr: GVR) -> Endpoint:
        """Where requests for `gvr` end. Raises KeyError."""
        return self._endpoints[gvr.group, gvr.version, gvr.plural]

    def endpoint_of_kind(self, api_version: str, kind: str) -> Endpoint | None:
        """Where requests for objects of a kind end; None for a kind that is not served."""
        group, _, version = api_version.rpartition("/")
        for (served_group, served_version, _), endpoint in self._endpoints.items():
            if (served_group, served_version, endpoint.gvr.kind) == (group, version, kind):
                return endpoint
        return None

    async def handle(self, request: Request) -> Response:
        """The whole chain. Every failure becomes a Status object; never raises but for cancellation."""
        began = self._clock.monotonic()
        audit_id = request.headers.get("audit-id") or metadata.new_uid(self._rng)
        call: Call | None = None
        response: Response
        try:
            if not request.query and request.method in PLAIN_REQUEST_INFO:
                query = NO_QUERY
                info = PLAIN_REQUEST_INFO[request.method](request.path)
            else:
                query = parse_query(request.query)
                info = request_info(request.method, request.path, query)
            call = Call(request, info, query, _NOBODY, authorizer=self._authorizer)
            call.allowed_s = time_allowed_s(info, query, self._request_timeout_s)
            work = self._chain(call, audit_id)
            try:
                suspended_on = work.send(None)
            except StopIteration as finished:
                response = finished.value
            else:
                response = await self._go_on(call, began, Resumed(work, suspended_on))
        except Exception as error:
            response = self._failed(request, call, error)
        if call is not None:
            self._account(call, response, began)
            if call.record is not None and self._auditor is not None:
                await self._auditor.answered(call.record, response)
        response.headers = {
            "audit-id": audit_id,
            "cache-control": "no-cache, private",
            **((call is not None and call.headers) or _NO_HEADERS),
            **response.headers,
        }
        if call is not None and call.warnings:
            response.headers["warning"] = warning_header(call.warnings)
        return response

    async def _go_on(self, call: Call, began: float, work: Resumed[Response]) -> Response:
        """The rest of a request that could not be answered at once. Raises RequestTimedOut."""
        if call.allowed_s is None:
            return await work
        is_mutating = call.info.verb not in _READS
        self._counted.entered(is_mutating=is_mutating)
        if call.seat is not None and self._fairness is not None:
            self._fairness.goes_on(call.seat)
        try:
            return await within(call.allowed_s, began, self._clock, work)
        finally:
            self._counted.left(is_mutating=is_mutating)
            if call.seat is not None and self._fairness is not None:
                self._fairness.goes_on(call.seat)

    async def _chain(self, call: Call, audit_id: str) -> Response:
        """The links of the chain that may fail."""
        request, info, auditor = call.request, call.info, self._auditor
        try:
            user = await self._authenticator.authenticate(request)
        except status.Unauthorized:
            if auditor is not None:
                call.record = auditor.refused(audit_id, request, info)
            raise
        if auditor is not None and (record := await auditor.received(audit_id, request, info, user)) is not None:
            call.record, call.annotations, call.recorded = record, record.annotations, record.sent
        if self._impersonator is not None:
            requestor = user
            user, constraint = await self._impersonator.impersonate(request, requestor)
            if call.record is not None and user is not requestor and auditor is not None:
                auditor.impersonated(call.record, user, constraint)
        call.user = user
        if warnings := request.context.get(WARNINGS):
            call.warnings = warnings
        if self._fairness is None:
            await self._authorizer.authorize(user, info, call.annotations)
            return await self._serve(call)
        seat = call.seat = self._fairness.take(call)
        if seat.waiting is not None:
            await self._fairness.wait(seat, call)
        try:
            await self._authorizer.authorize(user, info, call.annotations)
            return await self._serve(call)
        finally:
            self._fairness.done(seat)

    def _failed(self, request: Request, call: Call | None, error: Exception) -> Response:
        accept = request.headers.get("accept", "")
        if isinstance(error, Rejected):
            if call is not None:
                self._counted.dropped(call)
            return Response(429, {**_PLAIN_TEXT, "retry-after": str(error.retry_after_s)}, _REJECTION)
        if isinstance(error, status.StatusError):
            if isinstance(error, RequestTimedOut) and call is not None:
                self._counted.terminated(call.info, 504)
            return error_response(error, accept)
        if isinstance(error, PageNotFound):
            return page_not_found()
        if isinstance(error, FilterFailed):
            return filter_failure(request, error)
        if isinstance(error, StoreUnavailable):
            log.error("the store is not available", path=request.path, error=str(error))
            return error_response(unavailable(error), accept)
        log.exception("request failed", method=request.method, path=request.path)
        return error_response(internal(f"{type(error).__name__}: {error}"), accept)

    def _account(self, call: Call, response: Response, began: float) -> None:
        """Take note of an answer; of one without a set end, when it is over."""
        seconds = self._clock.monotonic() - began
        if call.seat is not None and self._fairness is not None:
            self._fairness.executed(call.seat, seconds - call.waited_s)
        if call.series is None:
            if call.info.path in _COUNTED_PATHS:
                self._counted.observe_path(call.info.path, response.status, seconds)
            return
        body = response.body
        metrics = self._counted
        if isinstance(body, bytes) and response.takeover is None:
            metrics.observe(call, response.status, len(body), seconds)
            return
        running = metrics.began(call)

        def finished() -> None:
            if running is not None:
                metrics.ended(running)
            metrics.observe(call, response.status, 0, self._clock.monotonic() - began)

        response.finished = finished

    def _watch_families(self) -> Iterable[Family]:
        return watch_families((endpoint.gvr, endpoint.sent) for endpoint in self._endpoints.values())
