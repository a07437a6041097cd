"""Which Services have to be looked at again, as Services and EndpointSlices come, change and go."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api.meta import Object
from pilothouse.api.views.endpoint_slice import EndpointSliceView
from pilothouse.api.views.service import ServiceView
from pilothouse.proxy.services import is_proxied

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
"""On a Service (and its slices) that another proxy looks after."""


class ChangeTracker:
    """The proxied Services, their slices, and the keys (`namespace/name`) of those that changed. Calls `on_change` at each change."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._services: dict[str, ServiceView] = {}
        self._slices: dict[str, dict[str, EndpointSliceView]] = {}
        self._changed: set[str] = set()

    def take(self) -> set[str]:
        """The keys that changed since the last call."""
        taken, self._changed = self._changed, set()
        return taken

    def put_back(self, keys: set[str]) -> None:
        """Keys whose change could not be carried out."""
        self._changed |= keys

    def keys(self) -> list[str]:
        """All proxied Services, in the order of their creation, as earlier ones take precedence over later ones."""
        return sorted(
            self._services, key=lambda key: (self._services[key].metadata.get("creationTimestamp") or "", key)
        )

    def service(self, key: str) -> ServiceView | None:
        return self._services.get(key)

    def slices(self, key: str) -> list[EndpointSliceView]:
        return list(self._slices.get(key, {}).values())

    def on_service(self, old: Object | None, new: Object | None) -> None:
        before = ServiceView(old) if old is not None else None
        after = ServiceView(new) if new is not None else None
        if after is not None and is_proxied(after) and PROXY_NAME_LABEL not in after.labels:
            known = self._services.get(after.key)
            self._services[after.key] = after
            if known is None or known.spec != after.spec or known.status != after.status:
                self._mark(after.key)
        elif (gone := after or before) is not None and self._services.pop(gone.key, None) is not None:
            self._mark(gone.key)

    def on_slice(self, old: Object | None, new: Object | None) -> None:
        before = EndpointSliceView(old) if old is not None else None
        after = EndpointSliceView(new) if new is not None else None
        if before is not None and (after is None or before.service_key != after.service_key):
            slices = self._slices.get(before.service_key, {})
            if slices.pop(before.name, None) is not None:
                self._mark(before.service_key)
            if not slices:
                self._slices.pop(before.service_key, None)
        if after is None or not after.service_name or PROXY_NAME_LABEL in after.labels:
            return
        slices = self._slices.setdefault(after.service_key, {})
        known = slices.get(after.name)
        slices[after.name] = after
        if known is None or known.endpoints != after.endpoints or known.ports != after.ports:
            self._mark(after.service_key)

    def _mark(self, key: str) -> None:
        self._changed.add(key)
        self._on_change()
