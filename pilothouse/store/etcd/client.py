"""Calls to an etcd cluster through whichever member answers.

A read is tried on the next member until one answers. A write is tried again only if it surely was not made: the connection could not
be made, or the member said so before it did anything. Any other failure leaves open whether it was made (`OutcomeUnknown`), and is
never tried again, or it could be made twice. Members without a leader say so at once, since every call demands one.

A member that failed is called again with the certificates that the files hold by then: an expired one shows when a connection is made.
Source: etcd `client/v3/retry.go`, `api/v3/v3rpc/rpctypes/error.go`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from typing import Any

from pilothouse.kit.backoff import Backoff, BackoffPolicy
from pilothouse.kit.clock import Clock
from pilothouse.kit.grpc import GrpcChannel, RpcCode, RpcFailure
from pilothouse.kit.log import get_logger
from pilothouse.store.base import OutcomeUnknown, Revision, StoreUnavailable, ValueTooLarge
from pilothouse.store.etcd.messages import Messages
from pilothouse.store.etcd.options import EtcdOptions, Material

PATIENCE_S = 5.0
"""How long a call is tried again on other members before it fails."""
_READ_S = 2.5
_WRITE_S = 10.0
"""Longer than etcd's own limit of 7 s, so that its answer is heard."""
_KEEPALIVE_S = 30.0
_MAX_MESSAGE_BYTES = 2**31 - 1
_RETRY = BackoffPolicy(base_s=0.025, max_s=0.5, jitter=0.5)
_HAS_LEADER = (("hasleader", "true"),)
_NOT_CONNECTED = ("failed to connect to all addresses", "connections to all backends failing", "DNS resolution failed")
_NOT_MADE = ("etcdserver: no leader", "etcdserver: too many requests", "etcdserver: not capable")
_REFUSALS = frozenset(
    {
        RpcCode.INVALID_ARGUMENT,
        RpcCode.NOT_FOUND,
        RpcCode.ALREADY_EXISTS,
        RpcCode.PERMISSION_DENIED,
        RpcCode.FAILED_PRECONDITION,
        RpcCode.OUT_OF_RANGE,
        RpcCode.UNIMPLEMENTED,
        RpcCode.UNAUTHENTICATED,
    }
)
"""With these etcd says that it did not do what was asked and that no other member would."""
_EVERYTHING = b"\0"
"""As key and range end of a watch: all keys."""


class EtcdClient:
    """See the module. Calls raise StoreUnavailable if no member can answer, RpcFailure for what etcd refuses."""

    def __init__(self, options: EtcdOptions, clock: Clock, rng: random.Random) -> None:
        """Raises OSError if a certificate or key cannot be read."""
        self.messages = Messages()
        self._clock = clock
        self._rng = rng
        self._log = get_logger("pilothouse.store.etcd")
        self._options = options
        self._material = options.material()
        self._channels = [_channel(target, options, self._material) for target in options.targets()]
        self._made_with = [self._material] * len(self._channels)
        self._current = 0
        self._closed = False
        self._closing: set[asyncio.Task[None]] = set()

    async def read(self, path: str, request: Any, response: Any, *, patience_s: float = PATIENCE_S) -> Any:
        """A call that changes nothing."""
        deadline = self._clock.monotonic() + patience_s
        backoff = Backoff(_RETRY, self._rng)
        while True:
            channel = self._channel()
            try:
                return await channel.call(path, request, response.FromString, timeout_s=min(_READ_S, patience_s))
            except RpcFailure as failure:
                if failure.code in _REFUSALS:
                    raise
                self.leave(channel)
                await self._wait(backoff, deadline, failure)

    async def write(self, path: str, request: Any, response: Any) -> Any:
        """A call that changes something. Raises OutcomeUnknown if it may have been made or not, ValueTooLarge."""
        deadline = self._clock.monotonic() + PATIENCE_S
        backoff = Backoff(_RETRY, self._rng)
        while True:
            channel = self._channel()
            try:
                return await channel.call(path, request, response.FromString, timeout_s=_WRITE_S)
            except RpcFailure as failure:
                self._check_refusal(failure)
                if failure.code in _REFUSALS:
                    raise
                self.leave(channel)
                if not _was_not_made(failure):
                    raise OutcomeUnknown(
                        f"etcd did not say whether the write was made ({failure.details}); read before you try again"
                    ) from failure
                await self._wait(backoff, deadline, failure)

    async def watch_everything(self, after: Revision) -> AsyncGenerator[Any, None]:
        """The WatchResponses for every change of every key after a revision; the first says that the watch is made.

        Raises RpcFailure when the watch breaks.
        """
        channel = self._channel()
        messages = self.messages
        request = messages.WatchRequest()
        request.create_request.MergeFrom(
            messages.WatchCreateRequest(
                key=_EVERYTHING,
                range_end=_EVERYTHING,
                start_revision=after + 1,
                prev_kv=True,
                progress_notify=True,
                fragment=True,
            )
        )
        stream = channel.duplex("/etcdserverpb.Watch/Watch", messages.WatchResponse.FromString)
        try:
            await stream.send(request)
            while (response := await stream.receive()) is not None:
                yield response
            raise RpcFailure(RpcCode.UNAVAILABLE, "the watch was ended by etcd")
        except RpcFailure:
            self.leave(channel)
            raise
        finally:
            stream.close()

    def leave(self, channel: GrpcChannel | None = None) -> None:
        """Go on with the next member, unless that was done already since `channel` was chosen."""
        if channel is None or channel is self._channels[self._current]:
            failed = self._current
            self._current = (failed + 1) % len(self._channels)
            if self._options.is_secure and not self._closed:
                self._renew(failed)

    def _renew(self, index: int) -> None:
        """Connect to a member anew if its connection was made with other certificates than the files hold now."""
        try:
            self._material = self._options.material()
        except OSError as error:
            self._log.warning(
                "certificates for etcd cannot be read; keeping those that were read before", error=str(error)
            )
        if self._made_with[index] == self._material:
            return
        old = self._channels[index]
        self._channels[index] = _channel(old.target, self._options, self._material)
        self._made_with[index] = self._material
        self._log.info("etcd is called with other certificates", server=old.target)
        closing = asyncio.get_running_loop().create_task(old.close(grace_s=_WRITE_S), name="etcd channel closing")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _channel(self) -> GrpcChannel:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return self._channels[self._current]

    async def close(self) -> None:
        self._closed = True
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        for channel in self._channels:
            await channel.close()

    async def _wait(self, backoff: Backoff, deadline: float, failure: RpcFailure) -> None:
        """Wait before the next attempt, once every member was tried; raise if there is no time left for one."""
        if backoff.failures < len(self._channels) - 1:
            backoff.failures += 1
            return
        delay_s = backoff.next()
        if self._clock.monotonic() + delay_s >= deadline:
            raise self.unavailable(failure)
        await self._clock.sleep(delay_s)

    def unavailable(self, failure: RpcFailure) -> StoreUnavailable:
        servers = ", ".join(channel.target for channel in self._channels)
        return StoreUnavailable(
            f"etcd does not answer at {servers} ({failure.details}): see that a majority of its members runs and can be reached"
        )

    @staticmethod
    def _check_refusal(failure: RpcFailure) -> None:
        if failure.details == "etcdserver: request is too large" or "message larger than max" in failure.details:
            raise ValueTooLarge(failure.details) from failure
        if failure.details == "etcdserver: mvcc: database space exceeded":
            raise StoreUnavailable(
                f"etcd is full ({failure.details}): compact and defragment it or raise its --quota-backend-bytes, then disarm the alarm"
            ) from failure


def _was_not_made(failure: RpcFailure) -> bool:
    return failure.details.startswith(_NOT_CONNECTED) or failure.details in _NOT_MADE


def _channel(target: str, options: EtcdOptions, material: Material) -> GrpcChannel:
    import grpc

    credentials = None
    if options.is_secure:
        credentials = grpc.ssl_channel_credentials(material.authority, material.key, material.certificate)
    return GrpcChannel(
        target,
        credentials=credentials,
        max_message_bytes=_MAX_MESSAGE_BYTES,
        metadata=_HAS_LEADER,
        keepalive_s=_KEEPALIVE_S,
    )
