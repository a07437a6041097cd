"""ConfigMap kube-system/extension-apiserver-authentication: by what extension servers know users and this server.

Source: `pkg/controlplane/controller/clusterauthenticationtrust`.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pilothouse.api.gvr import CONFIG_MAPS
from pilothouse.api.meta import Object
from pilothouse.api.status import AlreadyExists, StatusError
from pilothouse.api.user import User
from pilothouse.apiserver.authn.request_header import HeaderNames
from pilothouse.apiserver.own_tracking import own
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.write import Write
from pilothouse.kit import certificate
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.store.base import StoreError

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
KEEP_S = 5.0
_SLACK_S = 300.0
"""For how long after its end a certificate is still told."""
_KEYS = (
    "client-ca-file",
    "requestheader-username-headers",
    "requestheader-uid-headers",
    "requestheader-group-headers",
    "requestheader-extra-headers-prefix",
    "requestheader-allowed-names",
    "requestheader-client-ca-file",
)
log = get_logger("pilothouse.apiserver.aggregation")
_SERVER = User("system:apiserver", groups=("system:masters",))


@dataclass(frozen=True, slots=True)
class Trust:
    """Certificates in PEM; empty where there is none."""

    client_ca: str = ""
    front_proxy_ca: str = ""
    front_proxy_names: Sequence[str] = ()
    front_proxy_headers: HeaderNames = field(default_factory=HeaderNames)

    def data(self) -> dict[str, str]:
        """The ConfigMap's data."""
        found: dict[str, str] = {}
        if self.client_ca:
            found["client-ca-file"] = self.client_ca
        if self.front_proxy_ca:
            lists = {
                "requestheader-username-headers": list(self.front_proxy_headers.user),
                "requestheader-uid-headers": list(self.front_proxy_headers.uid),
                "requestheader-group-headers": list(self.front_proxy_headers.group),
                "requestheader-extra-headers-prefix": list(self.front_proxy_headers.extra_prefix),
                "requestheader-allowed-names": list(self.front_proxy_names),
            }
            found |= {key: json.dumps(values, separators=(",", ":")) for key, values in lists.items()}
            found["requestheader-client-ca-file"] = self.front_proxy_ca
        return found


async def keep(config_maps: Registry, trust: Callable[[], Trust], clock: Clock) -> None:
    """Write the ConfigMap anew whenever it does not say what `trust` does, until cancelled."""
    while True:
        await clock.sleep(KEEP_S)
        try:
            await publish(config_maps, trust(), clock.now())
        except (StatusError, StoreError) as error:
            log.error("authorities are not published", reason=str(error))


async def publish(config_maps: Registry, trust: Trust, now: float) -> None:
    """Write the ConfigMap: what other servers have put there stays, but certificates that have expired. Idempotent.

    Raises StatusError, StoreError.
    """
    required = trust.data()
    if not required:
        return
    write = Write(_SERVER, NAMESPACE, NAME)
    present = config_maps.cacher.get(NAMESPACE, NAME)
    if present is None:
        metadata = {"name": NAME, "namespace": NAMESPACE}
        try:
            obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": combined({}, required, now)}
            await config_maps.create(obj, Write(_SERVER, NAMESPACE, NAME, track=own(CONFIG_MAPS)))
            return
        except AlreadyExists:
            present = config_maps.cacher.get(NAMESPACE, NAME)
    if present is None or _says(present.object(), required, now):
        return

    async def change(before: Object) -> Object:
        return {**before, "data": combined(before.get("data") or {}, required, now)}

    await config_maps.change(change, write)


def _says(obj: Object, required: Mapping[str, str], now: float) -> bool:
    data = obj.get("data") or {}
    return bool(data == combined(data, required, now))


def combined(present: Mapping[str, str], required: Mapping[str, str], now: float) -> dict[str, str]:
    """The data of two servers. What cannot be read of the present ones counts for nothing."""
    data: dict[str, str] = {}
    for key in (*required, *(key for key in present if key not in required and key in _KEYS)):
        if key.endswith("-file"):
            data[key] = _certificates((present.get(key, ""), required.get(key, "")), now)
        else:
            data[key] = json.dumps(_united(present.get(key), required.get(key)), separators=(",", ":"))
    if not data.get("requestheader-client-ca-file"):
        # Without an authority of proxies there is nobody whose headers could be believed.
        return {key: data[key] for key in ("client-ca-file",) if data.get(key)}
    return {key: value for key, value in data.items() if value}


def _united(*lists: str | None) -> list[str]:
    united: dict[str, None] = {}
    for text in lists:
        try:
            values = json.loads(text or "[]")
        except ValueError:
            continue
        if isinstance(values, list):
            united |= dict.fromkeys(value for value in values if isinstance(value, str))
    return list(united)


def _certificates(bundles: Iterable[str], now: float) -> str:
    kept: dict[bytes, None] = {}
    for pem in bundles:
        try:
            blocks = certificate.pem_blocks(pem.encode())
            kept |= dict.fromkeys(der for der in blocks if certificate.read(der).not_after > now - _SLACK_S)
        except ValueError:
            continue
    return "".join(map(ssl.DER_cert_to_PEM_cert, kept))
