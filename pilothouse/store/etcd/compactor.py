"""History is forgotten an interval after it was made, by one of the API servers.

Whoever moves the shared key on from the version it saw last compacts, to the revision of its own last turn; the others see that they
came second and note the new version. So it is done once an interval, also if a server dies, and every server learns by the key's
value what is forgotten. Upstream's servers agree with ours by the same key. Source: apiserver `pkg/storage/etcd3/compact.go`.
"""

from __future__ import annotations

from pilothouse.kit.clock import Clock
from pilothouse.kit.grpc import RpcFailure
from pilothouse.kit.log import get_logger
from pilothouse.store.base import Revision, StoreUnavailable
from pilothouse.store.etcd.client import EtcdClient
from pilothouse.store.etcd.keys import COMPACTION
from pilothouse.store.etcd.messages import EQUAL, TARGET_VERSION

COMPACTED = "etcdserver: mvcc: required revision has been compacted"


class Compactor:
    """One API server's part in it."""

    def __init__(self, client: EtcdClient, clock: Clock, interval_s: float) -> None:
        self._client = client
        self._clock = clock
        self._interval_s = interval_s
        self._log = get_logger("pilothouse.store.etcd")
        self._version = 0
        self._revision = Revision(0)

    async def run(self) -> None:
        """Take a turn every interval until cancelled."""
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                await self.turn()
            except (StoreUnavailable, RpcFailure) as error:
                self._log.warning("history could not be compacted; trying again later", error=str(error))

    async def turn(self) -> Revision | None:
        """Compact if it is this server's turn; the revision compacted to, or None. Raises StoreUnavailable, RpcFailure."""
        messages = self._client.messages
        request = messages.TxnRequest()
        request.compare.add(result=EQUAL, target=TARGET_VERSION, key=COMPACTION, version=self._version)
        request.success.add(request_put=messages.PutRequest(key=COMPACTION, value=b"%d" % self._revision))
        request.failure.add(request_range=messages.RangeRequest(key=COMPACTION))
        answer = await self._client.write("/etcdserverpb.KV/Txn", request, messages.TxnResponse)
        before, self._revision = self._revision, Revision(answer.header.revision)
        if not answer.succeeded:
            pairs = answer.responses[0].response_range.kvs
            self._version = pairs[0].version if pairs else 0
            return None
        self._version += 1
        if not before:
            return None
        await compact(self._client, before)
        return before


async def compact(client: EtcdClient, before: Revision) -> None:
    """Forget history older than `before`; nothing to do if it is forgotten already. Raises StoreUnavailable, RpcFailure."""
    messages = client.messages
    request = messages.CompactionRequest(revision=before)
    try:
        # Compacting twice changes nothing more, so it may be tried again like a read.
        await client.read("/etcdserverpb.KV/Compact", request, messages.CompactionResponse)
    except RpcFailure as failure:
        if failure.details != COMPACTED:
            raise
