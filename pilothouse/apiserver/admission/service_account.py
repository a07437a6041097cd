"""ServiceAccount: every pod runs as a service account, whose token its containers find at the well-known path.

Source: `plugin/pkg/admission/serviceaccount`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api import pod_references
from pilothouse.api.meta import Object, annotations_of, name_of
from pilothouse.apiserver.admission.plugin import Plugin, forbidden
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.authz.node import MIRROR_ANNOTATION
from pilothouse.apiserver.objects import Objects
from pilothouse.kit.clock import Clock

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
TOKEN_LIFETIME_S = 3607
"""Not 3600, so that a token asked for by this plugin is told from one that somebody asked for."""
_ENFORCE = "kubernetes.io/enforce-mountable-secrets"
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_DEFAULT_ATTEMPTS = 20
_DEFAULT_WAIT_S = 0.1
"""A new namespace's default account is made by a controller: how often and how long a pod waits for it."""


class ServiceAccount(Plugin):
    name = "ServiceAccount"
    resources = frozenset({"pods"})
    subresources = frozenset({"", "ephemeralcontainers"})

    def __init__(self, objects: Objects, clock: Clock, rng: random.Random) -> None:
        self._objects = objects
        self._clock = clock
        self._rng = rng

    async def mutate(self, attributes: Attributes) -> None:
        pod = attributes.obj
        if attributes.operation != "CREATE" or attributes.subresource or pod is None:
            return
        if MIRROR_ANNOTATION in annotations_of(pod):
            return
        spec = pod["spec"]
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = await self._account(attributes, name)
        if _automounts(account, spec):
            self._mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [{"name": secret.get("name", "")} for secret in account["imagePullSecrets"]]

    async def validate(self, attributes: Attributes) -> None:
        pod = attributes.obj
        if pod is None:
            return
        if attributes.operation == "UPDATE":
            if attributes.subresource == "ephemeralcontainers":
                account = await self._account(attributes, pod["spec"].get("serviceAccountName", ""))
                self._limit_secrets(attributes, account, pod, ("ephemeralContainers",))
            return
        if attributes.subresource:
            return
        if MIRROR_ANNOTATION in annotations_of(pod):
            _check_mirror(attributes, pod)
            return
        name = pod["spec"].get("serviceAccountName", "")
        if not name:
            metadata = pod["metadata"]
            raise forbidden(
                attributes, f"no service account specified for pod {attributes.namespace}/{metadata.get('name', '')}"
            )
        account = await self._account(attributes, name)
        self._limit_secrets(attributes, account, pod, ("initContainers", "containers"))

    async def _account(self, attributes: Attributes, name: str) -> Object:
        for attempt in range(_DEFAULT_ATTEMPTS if name == "default" else 1):
            if attempt:
                await self._clock.sleep(_DEFAULT_WAIT_S)
            account = await self._objects.get(kinds.SERVICE_ACCOUNTS, attributes.namespace, name)
            if account is not None:
                return account
        raise forbidden(
            attributes,
            f'error looking up service account {attributes.namespace}/{name}: serviceaccount "{name}" not found',
        )

    def _mount_token(self, spec: Object) -> None:
        volumes = spec.get("volumes") or []
        present = next((volume["name"] for volume in volumes if volume["name"].startswith(VOLUME_PREFIX)), "")
        name = present or VOLUME_PREFIX + "".join(self._rng.choices(_SUFFIX_LETTERS, k=5))
        is_needed = False
        for key in ("initContainers", "containers"):
            for container in spec.get(key) or ():
                mounts = container.get("volumeMounts") or []
                if any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
                    continue
                container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
                is_needed = True
        if is_needed and not present:
            spec["volumes"] = [*volumes, {"name": name, "projected": token_volume_source()}]

    @staticmethod
    def _limit_secrets(attributes: Attributes, account: Object, pod: Object, container_keys: tuple[str, ...]) -> None:
        """With the account's annotation, a pod refers to the Secrets that the account lists and no others."""
        if annotations_of(account).get(_ENFORCE, "").lower() not in ("true", "1", "t"):
            return
        owner = name_of(account)
        mountable = {secret.get("name") for secret in account.get("secrets") or ()}
        for where, secret in _secret_references(pod["spec"], container_keys):
            if secret not in mountable:
                raise forbidden(
                    attributes,
                    f'{where} secret.secretName="{secret}" is not allowed because service account {owner} '
                    "does not reference that secret",
                )
        if "containers" not in container_keys:
            return
        pull_secrets = {secret.get("name") for secret in account.get("imagePullSecrets") or ()}
        for position, secret in enumerate(pod["spec"].get("imagePullSecrets") or ()):
            if secret.get("name") not in pull_secrets:
                raise forbidden(
                    attributes,
                    f'imagePullSecrets[{position}].name="{secret.get("name", "")}" is not allowed because service account '
                    f"{owner} does not reference that imagePullSecret",
                )


def token_volume_source() -> Object:
    """The projected volume of a service account: token, cluster CA and namespace."""
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_LIFETIME_S, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                    ]
                }
            },
        ],
        "defaultMode": 0o644,
    }


def _automounts(account: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    for holder in (spec, account):
        if (choice := holder.get("automountServiceAccountToken")) is not None:
            return bool(choice)
    return True


def _check_mirror(attributes: Attributes, pod: Object) -> None:
    if pod["spec"].get("serviceAccountName"):
        raise forbidden(attributes, "a mirror pod may not reference service accounts")
    if next(pod_references.secrets(pod), None) is not None:
        raise forbidden(attributes, "a mirror pod may not reference secrets")
    if pod_references.has_token_projection(pod):
        raise forbidden(attributes, "a mirror pod may not use ServiceAccountToken volume projections")


def _secret_references(spec: Mapping[str, Any], container_keys: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Where a pod refers to a Secret, and its name."""
    if "containers" in container_keys:
        for volume in spec.get("volumes") or ():
            if secret := volume.get("secret"):
                yield "volume with", secret.get("secretName", "")
    titles = {
        "initContainers": "init container",
        "containers": "container",
        "ephemeralContainers": "ephemeral container",
    }
    for key in container_keys:
        for container in spec.get(key) or ():
            title = f"{titles[key]} {container['name']} with"
            for variable in container.get("env") or ():
                if secret := (variable.get("valueFrom") or {}).get("secretKeyRef"):
                    yield f"{title} envVar {variable['name']} referencing", secret.get("name", "")
            for source in container.get("envFrom") or ():
                if secret := source.get("secretRef"):
                    yield f"{title} envFrom referencing", secret.get("name", "")
