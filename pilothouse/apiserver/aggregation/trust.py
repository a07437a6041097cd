"""ConfigMap kube-system/extension-apiserver-authentication: by what extension servers know users and this server.

Source: `pkg/controlplane/controller/clusterauthenticationtrust`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from pilothouse.api.meta import Object
from pilothouse.api.status import AlreadyExists
from pilothouse.api.user import User
from pilothouse.apiserver.authn.request_header import HeaderNames
from pilothouse.apiserver.registry import Registry, Write

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
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


async def publish(config_maps: Registry, trust: Trust) -> None:
    """Write the ConfigMap. Idempotent. Raises StoreUnavailable."""
    data = trust.data()
    if not data:
        return
    write = Write(_SERVER, NAMESPACE, NAME)
    present = config_maps.cacher.get(NAMESPACE, NAME)
    if present is None:
        metadata = {"name": NAME, "namespace": NAMESPACE}
        try:
            await config_maps.create(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, write
            )
        except AlreadyExists:
            present = config_maps.cacher.get(NAMESPACE, NAME)
    if present is not None and (present.object().get("data") or {}) != data:

        async def change(now: Object) -> Object:
            return {**now, "data": data}

        await config_maps.change(change, write)
