"""The files of a volume that comes from the API: ConfigMaps, Secrets, the pod's own fields, tokens, and projections of them.

Source: `pkg/volume/{configmap,secret,downwardapi,projected}`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.api.gvr import CONFIG_MAPS, GVR, SECRETS
from pilothouse.api.meta import Object
from pilothouse.api.status import NotFound
from pilothouse.api.views.pod import PodView
from pilothouse.client.client import Client
from pilothouse.kubelet.field_values import container_named, field_value, resource_value
from pilothouse.kubelet.seams import NotMounted
from pilothouse.kubelet.volumes.tokens import Tokens

DEFAULT_MODE = 0o644
TOKEN_MODE = 0o600


@dataclass(frozen=True, slots=True)
class File:
    """A file to write. `uid` is its owner where that is not root."""

    content: bytes
    mode: int
    uid: int | None = None


Payload = dict[str, File]
"""Files by their path in the volume."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What files may say of a pod, beside the object itself."""

    pod: PodView
    pod_ips: Sequence[str]
    host_ips: Sequence[str]
    allocatable: Mapping[str, Any]


class PayloadReader:
    """Reads payloads for this node's pods."""

    def __init__(self, client: Client, tokens: Tokens) -> None:
        self._client = client
        self._tokens = tokens

    async def config_map(self, source: Mapping[str, Any], namespace: str, mode: int) -> Payload:
        """Raises NotMounted, StatusError."""
        obj = await self._get(CONFIG_MAPS, namespace, source["name"], bool(source.get("optional")))
        if obj is None:
            return {}
        contents = {key: text.encode() for key, text in (obj.get("data") or {}).items()}
        contents |= {key: base64.b64decode(text) for key, text in (obj.get("binaryData") or {}).items()}
        return _chosen(contents, source, mode, "configmap")

    async def secret(self, source: Mapping[str, Any], namespace: str, mode: int) -> Payload:
        name = source.get("secretName") or source["name"]
        obj = await self._get(SECRETS, namespace, name, bool(source.get("optional")))
        if obj is None:
            return {}
        contents = {key: base64.b64decode(text) for key, text in (obj.get("data") or {}).items()}
        return _chosen(contents, source, mode, "secret")

    async def projected(self, source: Mapping[str, Any], facts: PodFacts, mode: int) -> Payload:
        payload: Payload = {}
        for part in source.get("sources") or ():
            if (given := part.get("configMap")) is not None:
                payload |= await self.config_map(given, facts.pod.namespace, mode)
            elif (given := part.get("secret")) is not None:
                payload |= await self.secret(given, facts.pod.namespace, mode)
            elif (given := part.get("downwardAPI")) is not None:
                payload |= downward(given, facts, mode)
            elif (given := part.get("serviceAccountToken")) is not None:
                payload[given["path"]] = await self._token(given, facts.pod, mode)
            else:
                raise NotMounted(f"a projection of {', '.join(part)} is not supported by this kubelet")
        return payload

    async def _token(self, source: Mapping[str, Any], pod: PodView, mode: int) -> File:
        token = await self._tokens.get(pod, source.get("audience", ""), source.get("expirationSeconds", 3600))
        uid = common_user(pod.spec)
        has_group = (pod.spec.get("securityContext") or {}).get("fsGroup") is not None
        return File(token.encode(), TOKEN_MODE if uid is not None or has_group else mode, uid)

    async def _get(self, gvr: GVR, namespace: str, name: str, optional: bool) -> Object | None:
        try:
            return await self._client.get(gvr, namespace, name)
        except NotFound:
            if optional:
                return None
            raise


def downward(source: Mapping[str, Any], facts: PodFacts, mode: int) -> Payload:
    """Files with fields and resources of the pod. Raises UnknownField, NotMounted."""
    payload: Payload = {}
    for item in source.get("items") or ():
        if reference := item.get("fieldRef"):
            text = field_value(facts.pod, reference["fieldPath"], facts.pod_ips, facts.host_ips)
        else:
            reference = item["resourceFieldRef"]
            container = container_named(facts.pod, reference.get("containerName", ""))
            if container is None:
                raise NotMounted(f"container {reference.get('containerName')} not found")
            text = resource_value(reference, container, facts.allocatable)
        item_mode = item.get("mode")
        payload[item["path"]] = File(text.encode(), mode if item_mode is None else item_mode)
    return payload


def common_user(spec: Mapping[str, Any]) -> int | None:
    """The user that all containers of a pod run as, if the pod says so; it may then own its tokens."""
    of_pod = (spec.get("securityContext") or {}).get("runAsUser")
    containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    users = {(container.get("securityContext") or {}).get("runAsUser", of_pod) for container in containers}
    return users.pop() if len(users) == 1 else None


def _chosen(contents: Mapping[str, bytes], source: Mapping[str, Any], mode: int, kind: str) -> Payload:
    """All values under their keys, or those that `items` names under the paths that it gives."""
    items = source.get("items")
    if not items:
        return {key: File(content, mode) for key, content in contents.items()}
    payload: Payload = {}
    for item in items:
        if item["key"] not in contents:
            if source.get("optional"):
                continue
            raise NotMounted(f"references non-existent {kind} key: {item['key']}")
        item_mode = item.get("mode")
        payload[item["path"]] = File(contents[item["key"]], mode if item_mode is None else item_mode)
    return payload
