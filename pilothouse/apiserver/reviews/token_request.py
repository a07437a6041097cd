"""The token subresource of service accounts, which issues tokens.

Source: `pkg/registry/core/serviceaccount/storage/token.go`, KEP-1205, KEP-4193.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api import status
from pilothouse.api.meta import Object, format_time, name_of, uid_of
from pilothouse.api.path import Path, invalid, invalid_object
from pilothouse.apiserver.authn.issuer import TokenIssuer, bound_claims
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.objects import Objects
from pilothouse.apiserver.reviews.admission import Admit, admit_all
from pilothouse.kit.clock import Clock

MIN_TOKEN_S = 600
MAX_TOKEN_S = 1 << 32
DEFAULT_TOKEN_S = 3600
WARN_ONLY_TOKEN_S = 3607
"""The lifetime that the ServiceAccount admission plugin asks for: such a token lives a year, and says when it should be renewed."""
EXTENDED_TOKEN_S = 365 * 24 * 3600
ISSUED_CREDENTIAL_ID = "authentication.kubernetes.io/issued-credential-id"


class TokenRequests:
    """The token subresource of service accounts."""

    def __init__(
        self,
        issuer: TokenIssuer,
        objects: Objects,
        clock: Clock,
        rng: random.Random,
        *,
        audiences: tuple[str, ...],
        max_lifetime_s: int = 0,
        extend_lifetime: bool = True,
        admit: Admit = admit_all,
    ) -> None:
        """`audiences` are those of the API server. `max_lifetime_s` 0 is no limit. `admit` raises for a request not admitted."""
        self._admit = admit
        self._issuer = issuer
        self._objects = objects
        self._clock = clock
        self._rng = rng
        self._audiences = audiences
        self._max_lifetime_s = max_lifetime_s
        self._extend_lifetime = extend_lifetime

    async def create(self, call: Call, obj: Object) -> Object:
        """Issue a token. Raises NotFound, Invalid, Conflict, BadRequest."""
        namespace, name = call.info.namespace, call.info.name
        metadata = dict(obj.get("metadata") or {})
        account = await self._account(namespace, name, metadata)
        await self._admit(call, obj)
        spec = dict(obj.get("spec") or {})
        spec["audiences"] = list(spec.get("audiences") or self._audiences)
        spec.setdefault("boundObjectRef", None)
        lifetime_s = spec.get("expirationSeconds")
        lifetime_s = spec["expirationSeconds"] = DEFAULT_TOKEN_S if lifetime_s is None else lifetime_s
        _check_lifetime(lifetime_s)
        pod, secret, node = await self._bound(spec.get("boundObjectRef"), namespace, name)
        if self._max_lifetime_s and lifetime_s > self._max_lifetime_s:
            call.warnings.append(
                f"requested expiration of {lifetime_s} seconds shortened to {self._max_lifetime_s} seconds"
            )
            lifetime_s = spec["expirationSeconds"] = self._max_lifetime_s
        now = self._clock.now()
        extends = (
            self._extend_lifetime
            and pod is not None
            and lifetime_s == WARN_ONLY_TOKEN_S
            and set(spec["audiences"]) <= set(self._audiences)
        )
        claims = bound_claims(
            account=account,
            audiences=spec["audiences"],
            now=now,
            lifetime_s=EXTENDED_TOKEN_S if extends else lifetime_s,
            token_id=str(uuid.UUID(int=self._rng.getrandbits(128), version=4)),
            pod=pod,
            secret=secret,
            node=node,
            warn_after_s=lifetime_s if extends else 0,
        )
        call.annotate(ISSUED_CREDENTIAL_ID, f"JTI={claims['jti']}")
        metadata |= {
            "name": name,
            "namespace": namespace,
            "uid": uid_of(account),
            "creationTimestamp": format_time(now),
        }
        answer = {"token": self._issuer.sign(claims), "expirationTimestamp": format_time(now + lifetime_s)}
        return {**obj, "metadata": metadata, "spec": spec, "status": answer}

    async def _account(self, namespace: str, name: str, metadata: Mapping[str, Any]) -> Object:
        """The service account of a request, which the request's own metadata must not contradict."""
        for key, value, what in (("name", name, "name"), ("namespace", namespace, "namespace")):
            if metadata.get(key) and metadata[key] != value:
                why = f"must match the service account {what} if specified"
                faults = [invalid(Path("metadata").child(key), metadata[key], why)]
                raise invalid_object("authentication.k8s.io", "TokenRequest", name, faults)
        account = await self._objects.get(kinds.SERVICE_ACCOUNTS, namespace, name)
        if account is None:
            raise status.not_found("serviceaccounts", "", name)
        if metadata.get("uid") and metadata["uid"] != uid_of(account):
            why = (
                f"the UID in the token request ({metadata['uid']}) does not match "
                f"the UID of the service account ({uid_of(account)})"
            )
            raise status.conflict("TokenRequest", "authentication.k8s.io", name, why)
        return account

    async def _bound(
        self, reference: Mapping[str, Any] | None, namespace: str, account: str
    ) -> tuple[Object | None, Object | None, Object | None]:
        """The pod, secret and node that a token is to be bound to."""
        if reference is None:
            return None, None, None
        group, _, version = reference.get("apiVersion", "").rpartition("/")
        match group, reference.get("kind", ""):
            case "", "Pod":
                pod = await self._same(kinds.PODS, namespace, reference)
                spec = pod.get("spec") or {}
                if spec.get("serviceAccountName") != account:
                    raise status.BadRequest(
                        f'cannot bind token for serviceaccount "{account}" to pod running with '
                        "different serviceaccount name."
                    )
                node = None
                if node_name := spec.get("nodeName"):
                    found = await self._objects.get(kinds.NODES, "", node_name)
                    node = found if found is not None else {"metadata": {"name": node_name}}
                return pod, None, node
            case "", "Secret":
                return None, await self._same(kinds.SECRETS, namespace, reference), None
            case "", "Node":
                return None, None, await self._same(kinds.NODES, "", reference)
        raise status.BadRequest(
            f"cannot bind token to object of type {group}/{version}, Kind={reference.get('kind', '')}"
        )

    async def _same(self, gvr: kinds.GVR, namespace: str, reference: Mapping[str, Any]) -> Object:
        found = await self._objects.get(gvr, namespace, reference.get("name", ""))
        if found is None:
            raise status.not_found(gvr.plural, "", reference.get("name", ""))
        if reference.get("uid") and reference["uid"] != uid_of(found):
            why = (
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise status.conflict(gvr.kind, "", name_of(found), why)
        return found


def _check_lifetime(lifetime_s: int) -> None:
    path = Path("spec").child("expirationSeconds")
    if lifetime_s < MIN_TOKEN_S:
        faults = [invalid(path, lifetime_s, "may not specify a duration less than 10 minutes")]
    elif lifetime_s > MAX_TOKEN_S:
        faults = [invalid(path, lifetime_s, "may not specify a duration larger than 2^32 seconds")]
    else:
        return
    raise invalid_object("authentication.k8s.io", "TokenRequest", "", faults)
