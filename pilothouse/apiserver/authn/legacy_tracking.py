"""ConfigMap kube-system/kube-apiserver-legacy-service-account-token-tracking: since when the uses of tokens in Secrets are written down.

Who clears away unused tokens trusts nothing older. Source: `pkg/controlplane/controller/legacytokentracking`.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from pilothouse.api.gvr import CONFIG_MAPS
from pilothouse.api.meta import Object
from pilothouse.api.status import AlreadyExists, StatusError
from pilothouse.api.user import User
from pilothouse.apiserver.own_tracking import own
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.write import Write
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.store.base import StoreError

NAMESPACE, NAME = "kube-system", "kube-apiserver-legacy-service-account-token-tracking"
KEEP_S = 5.0
CREATE_S = 1800.0
"""It is made no more often than this, lest servers that track and servers that do not make and delete it in turn."""
_FORMAT = "%Y-%m-%d"
_SERVER = User("system:apiserver", groups=("system:masters",))
_WRITE = Write(_SERVER, NAMESPACE, NAME)
log = get_logger("pilothouse.apiserver.authn")


class Tracking:
    def __init__(self, config_maps: Registry, clock: Clock) -> None:
        self._config_maps = config_maps
        self._clock = clock
        self._may_create_at = 0.0

    async def run(self) -> None:
        """Keep the ConfigMap, until cancelled."""
        while True:
            try:
                await self._turn()
            except (StatusError, StoreError) as error:
                log.error("the tracking of legacy tokens is not announced", reason=str(error))
            await self._clock.sleep(KEEP_S)

    async def _turn(self) -> None:
        """Raises StatusError, StoreError."""
        present = self._config_maps.cacher.get(NAMESPACE, NAME)
        if present is None:
            await self._create()
        elif not _is_date((present.object().get("data") or {}).get("since", "")):
            await self._config_maps.change(self._dated, _WRITE)

    async def _create(self) -> None:
        if self._clock.monotonic() < self._may_create_at:
            return
        metadata = {"name": NAME, "namespace": NAMESPACE}
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"since": self._today()}}
        with suppress(AlreadyExists):
            await self._config_maps.create(obj, Write(_SERVER, NAMESPACE, NAME, track=own(CONFIG_MAPS)))
        self._may_create_at = self._clock.monotonic() + CREATE_S

    async def _dated(self, obj: Object) -> Object:
        return {**obj, "data": {**(obj.get("data") or {}), "since": self._today()}}

    def _today(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).strftime(_FORMAT)


def _is_date(text: str) -> bool:
    try:
        return datetime.strptime(text, _FORMAT).strftime(_FORMAT) == text
    except ValueError:
        return False
