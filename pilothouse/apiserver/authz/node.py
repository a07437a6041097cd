"""The Node mode: a kubelet reads only what the pods on its node refer to.

It follows pods, persistent volumes, volume attachments and resource slices, and keeps for each node how often its pods refer to an
object. What a node may *write* is checked by the NodeRestriction admission plugin, which sees the objects.
Source: `plugin/pkg/auth/authorizer/node`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api import pod_references
from pilothouse.api.field_selector import parse_fields
from pilothouse.api.identities import SYSTEM_NODES
from pilothouse.api.meta import Object, annotations_of, name_of, namespace_of
from pilothouse.api.status import BadRequest
from pilothouse.api.user import User
from pilothouse.apiserver.authz import bootstrap
from pilothouse.apiserver.authz.attributes import ALLOW, NO_OPINION, Attributes, Decision, UserRules, Verdict
from pilothouse.apiserver.authz.rules import RuleSet
from pilothouse.apiserver.objects import Objects

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
NODE_LEASES = "kube-node-lease"

_Reference = tuple[str, str, str]
"""Plural, namespace, name."""


class NodeAuthorizer:
    """The Node mode."""

    def __init__(self, objects: Objects) -> None:
        self._references: dict[str, Counter[_Reference]] = {}
        self._claims_of_volume: dict[str, _Reference] = {}
        self._volumes_of_secret: dict[_Reference, set[str]] = {}
        self._static: RuleSet | None = None
        objects.subscribe(kinds.PODS, self._pod_changed, unless=_has_same_references)
        objects.subscribe(kinds.PERSISTENT_VOLUMES, self._volume_changed)
        objects.subscribe(kinds.VOLUME_ATTACHMENTS, self._attachment_changed)
        objects.subscribe(kinds.RESOURCE_SLICES, self._slice_changed)

    def rules_for(self, user: User, namespace: str) -> UserRules:
        if SYSTEM_NODES in user.groups and user.node_name:
            return UserRules((), False, "node authorizer does not support user rule resolution")
        return UserRules()

    def authorize(self, attributes: Attributes) -> Decision:
        if SYSTEM_NODES not in attributes.user.groups:
            return NO_OPINION
        node = attributes.user.node_name
        if not node:
            return NO_OPINION
        match attributes.group, attributes.resource:
            case "", "secrets" | "configmaps":
                return self._may_read(node, attributes)
            case "", "persistentvolumeclaims" if attributes.subresource == "status":
                if attributes.verb not in ("update", "patch"):
                    return _no("can only get/update/patch this type")
                return self._is_related(node, attributes)
            case ("", "persistentvolumeclaims" | "persistentvolumes") | (_, "volumeattachments" | "resourceclaims"):
                return self._may_get(node, attributes)
            case "", "serviceaccounts":
                return self._service_account(node, attributes)
            case "coordination.k8s.io", "leases":
                return _lease(node, attributes)
            case "storage.k8s.io", "csinodes":
                return _csi_node(node, attributes)
            case "resource.k8s.io", "resourceslices":
                return self._resource_slice(node, attributes)
            case "", "nodes":
                return _node(node, attributes)
            case "", "pods":
                return self._pod(node, attributes)
        if self._static is None:
            self._static = RuleSet()
            self._static.add(bootstrap.cluster_role("system:node")["rules"], "")
        return self._static.decide(attributes)

    def _may_read(self, node: str, attributes: Attributes) -> Decision:
        if attributes.verb not in ("get", "list", "watch"):
            return _no("can only read resources of this type")
        if attributes.subresource:
            return _no("cannot read subresource")
        if not attributes.namespace:
            return _no("can only read namespaced object of this type")
        return self._is_related(node, attributes)

    def _may_get(self, node: str, attributes: Attributes) -> Decision:
        if attributes.verb != "get":
            return _no("can only get individual resources of this type")
        if attributes.subresource:
            return _no("cannot get subresource")
        return self._is_related(node, attributes)

    def _is_related(self, node: str, attributes: Attributes) -> Decision:
        if not attributes.name:
            return _no("No Object name found")
        if self._has(node, (attributes.resource, attributes.namespace, attributes.name)):
            return ALLOW
        return _no(f"no relationship found between node '{node}' and this object")

    def _has(self, node: str, reference: _Reference) -> bool:
        references: Mapping[_Reference | None, int] = self._references.get(node, {})  # type: ignore[assignment]
        if reference in references:
            return True
        if reference[0] == "persistentvolumes":
            return self._claims_of_volume.get(reference[2]) in references
        volumes = self._volumes_of_secret.get(reference, ())
        return any(self._claims_of_volume.get(volume) in references for volume in volumes)

    def _service_account(self, node: str, attributes: Attributes) -> Decision:
        if attributes.verb == "get" and not attributes.subresource:
            return self._may_read(node, attributes)
        if attributes.verb != "create" or not attributes.name:
            return _no("can only create tokens for individual service accounts")
        if attributes.subresource != "token":
            return _no("can only create token subresource of serviceaccount")
        return self._is_related(node, attributes)

    def _resource_slice(self, node: str, attributes: Attributes) -> Decision:
        if attributes.subresource:
            return _no("cannot authorize ResourceSlice subresources")
        match attributes.verb:
            case "create":
                return ALLOW
            case "get" | "update" | "patch" | "delete":
                return self._is_related(node, attributes)
            case "watch" | "list" | "deletecollection":
                if _selects(attributes, "spec.nodeName", node):
                    return ALLOW
                return _no("can only list/watch/deletecollection resourceslices with nodeName field selector")
        return _no(
            "only the following verbs are allowed for a ResourceSlice: "
            "get, watch, list, create, update, patch, delete, deletecollection"
        )

    def _pod(self, node: str, attributes: Attributes) -> Decision:
        match attributes.subresource, attributes.verb:
            case "", "get":
                return self._may_get(node, attributes)
            case "", "list" | "watch":
                if _selects(attributes, "spec.nodeName", node):
                    return ALLOW
                if attributes.name:
                    return self._is_related(node, attributes)
                return _no("can only list/watch pods with spec.nodeName field selector")
            case ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create"):
                return ALLOW
        return NO_OPINION

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        old_node, new_node = _node_of(old), _node_of(new)
        before = set(_references(old)) if old is not None and old_node else set()
        after = set(_references(new)) if new is not None and new_node else set()
        if old_node == new_node and before == after:
            return
        self._forget(old_node, before)
        self._remember(new_node, after)

    def _attachment_changed(self, old: Object | None, new: Object | None) -> None:
        self._follow_node_name("volumeattachments", old, new)

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        self._follow_node_name("resourceslices", old, new)

    def _follow_node_name(self, plural: str, old: Object | None, new: Object | None) -> None:
        for obj, act in ((old, self._forget), (new, self._remember)):
            if obj is not None and (node := _node_of(obj)):
                act(node, {(plural, "", name_of(obj))})

    def _volume_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None:
            self._claims_of_volume.pop(name_of(old), None)
            for secret in _volume_secrets(old):
                self._volumes_of_secret.get(secret, set()).discard(name_of(old))
        if new is not None and (claim := (new.get("spec") or {}).get("claimRef")):
            self._claims_of_volume[name_of(new)] = ("persistentvolumeclaims", claim.get("namespace", ""), claim["name"])
            for secret in _volume_secrets(new):
                self._volumes_of_secret.setdefault(secret, set()).add(name_of(new))

    def _remember(self, node: str, references: set[_Reference]) -> None:
        if references:
            self._references.setdefault(node, Counter()).update(references)

    def _forget(self, node: str, references: set[_Reference]) -> None:
        counts = self._references.get(node)
        if counts is None:
            return
        for reference in references:
            counts[reference] -= 1
            if counts[reference] <= 0:
                del counts[reference]
        if not counts:
            del self._references[node]


def _no(reason: str) -> Decision:
    return Decision(Verdict.NO_OPINION, reason)


def _selects(attributes: Attributes, field: str, value: str) -> bool:
    if not attributes.field_selector:
        return False
    try:
        return parse_fields(attributes.field_selector).exact_value(field) == value
    except BadRequest:
        return False


def _lease(node: str, attributes: Attributes) -> Decision:
    if attributes.verb not in ("get", "create", "update", "patch", "delete"):
        return _no("can only get, create, update, patch, or delete a node lease")
    if attributes.namespace != NODE_LEASES:
        return _no(f'can only access leases in the "{NODE_LEASES}" system namespace')
    if attributes.verb != "create" and attributes.name != node:
        return _no("can only access node lease with the same name as the requesting node")
    return ALLOW


def _csi_node(node: str, attributes: Attributes) -> Decision:
    if attributes.verb not in ("get", "create", "update", "patch", "delete"):
        return _no("can only get, create, update, patch, or delete a CSINode")
    if attributes.subresource:
        return _no("cannot authorize CSINode subresources")
    if attributes.verb != "create" and attributes.name != node:
        return _no("can only access CSINode with the same name as the requesting node")
    return ALLOW


def _node(node: str, attributes: Attributes) -> Decision:
    match attributes.subresource, attributes.verb:
        case ("", "create" | "update" | "patch") | ("status", "update" | "patch"):
            return ALLOW
        case "", "get" | "list" | "watch":
            if attributes.name == node:
                return ALLOW
            if not attributes.name:
                return _no(f"node '{node}' cannot read all nodes, only its own Node object")
            return _no(f"node '{node}' cannot read '{attributes.name}', only its own Node object")
    return NO_OPINION


def _node_of(obj: Mapping[str, Any] | None) -> str:
    return str((obj.get("spec") or {}).get("nodeName") or "") if obj is not None else ""


def _has_same_references(old: bytes, new: bytes) -> bool:
    """Whether a pod refers to the same objects from the same node, by its bytes: the spec is the same and no claim is in the status.

    A pod that comes or goes without a node refers to nothing.
    """
    if not old or not new:
        return b'"nodeName":"' not in (old or new)
    spec = _spec(old)
    return bool(spec) and spec == _spec(new) and b"laimStatus" not in old and b"laimStatus" not in new


def _spec(wire: bytes) -> bytes:
    """From the spec to the status, which follows it; empty where that cannot be told."""
    start, end = wire.find(b'},"spec":{'), wire.rfind(b'},"status":{')
    return wire[start:end] if 0 < start < end else b""


def _references(pod: Object) -> Iterator[_Reference]:
    namespace = namespace_of(pod)
    yield ("pods", namespace, name_of(pod))
    if MIRROR_ANNOTATION in annotations_of(pod):
        return
    if account := pod["spec"].get("serviceAccountName"):
        yield ("serviceaccounts", namespace, account)
    for name in pod_references.secrets(pod):
        yield ("secrets", namespace, name)
    for name in pod_references.config_maps(pod):
        yield ("configmaps", namespace, name)
    for name in pod_references.persistent_volume_claims(pod):
        yield ("persistentvolumeclaims", namespace, name)
    for name in pod_references.resource_claims(pod):
        yield ("resourceclaims", namespace, name)


def _volume_secrets(volume: Object) -> Iterator[_Reference]:
    """The Secrets that a persistent volume needs on its node."""
    spec = volume.get("spec") or {}
    claim_namespace = (spec.get("claimRef") or {}).get("namespace", "")
    for source in spec.values():
        if not isinstance(source, Mapping):
            continue
        for key in ("secretRef", "nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"):
            if isinstance(reference := source.get(key), Mapping) and reference.get("name"):
                yield ("secrets", reference.get("namespace") or claim_namespace, reference["name"])
        if name := source.get("secretName"):
            yield ("secrets", source.get("secretNamespace") or claim_namespace, name)
