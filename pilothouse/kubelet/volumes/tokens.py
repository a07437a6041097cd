"""Service account tokens for pods: asked for once, and again when most of their life is over.

Source: `pkg/kubelet/token`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pilothouse.api.gvr import SERVICE_ACCOUNTS
from pilothouse.api.meta import UID, parse_time
from pilothouse.api.views.pod import PodView
from pilothouse.client.client import Client
from pilothouse.kit.clock import Clock

RENEW_AT = 0.8
LONGEST_USE_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    renew_at: float


class Tokens:
    """The tokens of a node's pods, by pod, account, audience and lifetime."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._tokens: dict[tuple[UID, str, str, int], _Token] = {}

    async def get(self, pod: PodView, audience: str, lifetime_s: int) -> str:
        """A token bound to the pod, for the API server if `audience` is empty. Raises StatusError."""
        account = str(pod.spec.get("serviceAccountName") or "default")
        key = (pod.uid, account, audience, lifetime_s)
        now = self._clock.now()
        known = self._tokens.get(key)
        if known is not None and now < known.renew_at:
            return known.text
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {},
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": lifetime_s,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid},
            },
        }
        answer = await self._client.create(
            SERVICE_ACCOUNTS, request, namespace=pod.namespace, name=account, subresource="token"
        )
        expires = parse_time(answer["status"]["expirationTimestamp"])
        lifetime = min((answer["spec"].get("expirationSeconds") or lifetime_s) * RENEW_AT, LONGEST_USE_S)
        self._tokens[key] = _Token(answer["status"]["token"], min(now + lifetime, expires))
        return self._tokens[key].text

    def forget(self, uid: UID) -> None:
        for key in [key for key in self._tokens if key[0] == uid]:
            del self._tokens[key]
