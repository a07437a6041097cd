"""NodeRestriction and TaintNodesByCondition.

NodeRestriction limits what a kubelet writes to its own Node, the pods bound to it, and what belongs to them; what it may read is the
Node authorization mode's matter. Source: `plugin/pkg/admission/{noderestriction,nodetaint}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api import gvr as kinds
from pilothouse.api import pod_references, status
from pilothouse.api.identities import SYSTEM_NODES
from pilothouse.api.meta import Object, annotations_of, labels_of, owners_of, uid_of
from pilothouse.api.view import json_copy
from pilothouse.apiserver.admission.plugin import WHOLE_OBJECTS, Plugin, forbidden
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.authz.node import MIRROR_ANNOTATION, NODE_LEASES
from pilothouse.apiserver.objects import Objects

NOT_READY = "node.kubernetes.io/not-ready"
_OWN_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "node.kubernetes.io/windows-build",
    }
)
_OWN_LABEL_SPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")


class TaintNodesByCondition(Plugin):
    """A new node takes no pods until it is known to be ready."""

    name = "TaintNodesByCondition"
    operations = frozenset({"CREATE"})
    resources = frozenset({"nodes"})
    subresources = WHOLE_OBJECTS

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.obj is None:
            return
        spec = attributes.obj.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(taint.get("key") == NOT_READY and taint.get("effect") == "NoSchedule" for taint in taints):
            spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]


class NodeRestriction(Plugin):
    name = "NodeRestriction"
    operations = frozenset({"CREATE", "UPDATE", "DELETE"})
    resources = frozenset(
        {
            "pods",
            "nodes",
            "persistentvolumeclaims",
            "serviceaccounts",
            "leases.coordination.k8s.io",
            "csinodes.storage.k8s.io",
            "resourceslices.resource.k8s.io",
            "certificatesigningrequests.certificates.k8s.io",
        }
    )

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def validate(self, attributes: Attributes) -> None:
        if SYSTEM_NODES not in attributes.user.groups:
            return
        node = attributes.user.node_name
        if not node:
            raise forbidden(attributes, f'could not determine node from user "{attributes.user.name}"')
        match attributes.resource.gvr.group_resource:
            case "pods":
                await self._pod(node, attributes)
            case "nodes":
                _check_node(node, attributes)
            case "persistentvolumeclaims":
                _check_claim(node, attributes)
            case "serviceaccounts":
                await self._token(node, attributes)
            case "leases.coordination.k8s.io":
                _check_lease(node, attributes)
            case "csinodes.storage.k8s.io":
                if _draft_name(attributes) != node:
                    raise forbidden(attributes, "can only access CSINode with the same name as the requesting node")
            case "resourceslices.resource.k8s.io":
                _check_slice(node, attributes)
            case "certificatesigningrequests.certificates.k8s.io":
                _check_signing_request(node, attributes)

    async def _pod(self, node: str, attributes: Attributes) -> None:
        match attributes.subresource, attributes.operation:
            case "", "CREATE":
                await self._new_pod(node, attributes)
            case "", "DELETE":
                if (await self._bound_to(attributes, attributes.name)) != node:
                    raise forbidden(attributes, f'node "{node}" can only delete pods with spec.nodeName set to itself')
            case "", operation:
                raise forbidden(
                    attributes,
                    f'unexpected operation "{operation}", node "{node}" can only create and delete mirror pods',
                )
            case "status", "UPDATE":
                _check_pod_status(node, attributes)
            case "eviction", "CREATE":
                name = attributes.name or _draft_name(attributes)
                if not name:
                    raise forbidden(attributes, "could not determine pod from request data")
                if (await self._bound_to(attributes, name)) != node:
                    raise forbidden(attributes, f"node {node} can only evict pods with spec.nodeName set to itself")
            case "status" | "eviction", operation:
                raise forbidden(attributes, f'unexpected operation "{operation}"')
            case subresource, _:
                raise forbidden(
                    attributes,
                    f"unexpected pod subresource \"{subresource}\", only 'status' and 'eviction' are allowed",
                )

    async def _bound_to(self, attributes: Attributes, name: str) -> str:
        """The node of a pod. Raises NotFound."""
        pod = await self._objects.get(kinds.PODS, attributes.namespace, name)
        if pod is None:
            raise status.not_found("pods", "", name)
        return str((pod.get("spec") or {}).get("nodeName") or "")

    async def _new_pod(self, node: str, attributes: Attributes) -> None:
        pod = _draft(attributes)
        if MIRROR_ANNOTATION not in annotations_of(pod):
            raise forbidden(
                attributes,
                f'pod does not have "{MIRROR_ANNOTATION}" annotation, node "{node}" can only create mirror pods',
            )
        if pod["spec"].get("nodeName") != node:
            raise forbidden(attributes, f'node "{node}" can only create pods with spec.nodeName set to itself')
        owners = owners_of(pod)
        if len(owners) > 1:
            raise forbidden(
                attributes, f'node "{node}" can only create pods with a single owner reference set to itself'
            )
        if not owners or (owners[0]["apiVersion"], owners[0]["kind"], owners[0]["name"]) != ("v1", "Node", node):
            raise forbidden(attributes, f'node "{node}" can only create pods with an owner reference set to itself')
        if not owners[0].get("controller"):
            raise forbidden(
                attributes, f'node "{node}" can only create pods with a controller owner reference set to itself'
            )
        if owners[0].get("blockOwnerDeletion"):
            raise forbidden(attributes, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
        own = await self._objects.get(kinds.NODES, "", node)
        if own is None:
            raise status.not_found("nodes", "", node)
        if owners[0].get("uid") != uid_of(own):
            raise forbidden(attributes, f"node {node} UID mismatch: expected {owners[0].get('uid')} got {uid_of(own)}")
        if what := _reference_of(pod):
            raise forbidden(attributes, f'node "{node}" can not create pods that reference {what}')

    async def _token(self, node: str, attributes: Attributes) -> None:
        """A token for a pod on this node, with no audience but those that the pod's volumes ask for."""
        if attributes.operation != "CREATE" or attributes.subresource != "token":
            return
        spec = _draft(attributes).get("spec") or {}
        reference = spec.get("boundObjectRef") or {}
        if (reference.get("apiVersion"), reference.get("kind")) != ("v1", "Pod") or not reference.get("name"):
            raise forbidden(attributes, "node requested token not bound to a pod")
        if not reference.get("uid"):
            raise forbidden(attributes, "node requested token with a pod binding without a uid")
        pod = await self._objects.get(kinds.PODS, attributes.namespace, reference["name"])
        if pod is None:
            raise status.not_found("pods", "", reference["name"])
        if uid_of(pod) != reference["uid"]:
            raise forbidden(
                attributes,
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
                "The object might have been deleted and then recreated",
            )
        if pod["spec"].get("nodeName") != node:
            raise forbidden(attributes, "node requested token bound to a pod scheduled on a different node")
        audiences = spec.get("audiences") or [""]
        if len(audiences) > 1:
            raise forbidden(attributes, "node may only request 0 or 1 audiences")
        if audiences[0] not in await self._audiences(pod):
            raise forbidden(
                attributes,
                f'audience "{audiences[0]}" not found in pod spec volume, {attributes.user.name} is not authorized to '
                "request tokens for this audience",
            )

    async def _audiences(self, pod: Object) -> set[str]:
        """The audiences that a pod's projected volumes and CSI drivers ask for; the empty one is the API server."""
        found = set()
        drivers = set()
        for volume in pod["spec"].get("volumes") or ():
            for source in (volume.get("projected") or {}).get("sources") or ():
                if (token := source.get("serviceAccountToken")) is not None:
                    found.add(token.get("audience") or "")
            if csi := volume.get("csi"):
                drivers.add(csi["driver"])
        for claim_name in pod_references.persistent_volume_claims(pod):
            namespace = pod["metadata"]["namespace"]
            claim = await self._objects.get(kinds.PERSISTENT_VOLUME_CLAIMS, namespace, claim_name)
            volume_name = (claim or {}).get("spec", {}).get("volumeName")
            volume = await self._objects.get(kinds.PERSISTENT_VOLUMES, "", volume_name) if volume_name else None
            if volume is not None and (csi := (volume.get("spec") or {}).get("csi")):
                drivers.add(csi["driver"])
        for name in drivers:
            driver = await self._objects.get(kinds.CSI_DRIVERS, "", name)
            requests = ((driver or {}).get("spec") or {}).get("tokenRequests") or ()
            found.update(request.get("audience") or "" for request in requests)
        return found


def _draft(attributes: Attributes) -> Object:
    return attributes.obj if attributes.obj is not None else {"metadata": {}}


def _draft_name(attributes: Attributes) -> str:
    return attributes.name or str(_draft(attributes)["metadata"].get("name", ""))


def _reference_of(pod: Object) -> str:
    """What other objects a pod refers to, in the plural; empty if none."""
    if pod["spec"].get("serviceAccountName"):
        return "serviceaccounts"
    for found, plural in (
        (pod_references.secrets(pod), "secrets"),
        (pod_references.config_maps(pod), "configmaps"),
        (pod_references.persistent_volume_claims(pod), "persistentvolumeclaims"),
    ):
        if next(found, None) is not None:
            return plural
    if pod_references.has_token_projection(pod):
        return "serviceaccounts (via projected volumes)"
    if pod["spec"].get("resourceClaims"):
        return "resourceclaims"
    return ""


def _check_pod_status(node: str, attributes: Attributes) -> None:
    old, new = attributes.old or {}, _draft(attributes)
    if (old.get("spec") or {}).get("nodeName") != node:
        raise forbidden(
            attributes, f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
        )
    if labels_of(old) != labels_of(new):
        raise forbidden(attributes, f'node "{node}" cannot update labels through pod status')
    for field, what in (
        ("resourceClaimStatuses", "resource claim statues"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
    ):
        if ((old.get("status") or {}).get(field) or None) != ((new.get("status") or {}).get(field) or None):
            raise forbidden(attributes, f'node "{node}" cannot update {what}')


def _check_node(node: str, attributes: Attributes) -> None:
    name = _draft_name(attributes)
    if name != node:
        raise forbidden(attributes, f'node "{node}" is not allowed to modify node "{name}"')
    if attributes.operation == "DELETE":
        return
    new, old = _draft(attributes), attributes.old
    spec = new.get("spec") or {}
    if old is None:
        if spec.get("configSource") is not None:
            raise forbidden(attributes, f'node "{node}" is not allowed to create pods with a non-nil configSource')
        if labels := _forbidden_labels(labels_of(new), {}):
            raise forbidden(attributes, f'node "{node}" is not allowed to set the following labels: {labels}')
        return
    old_spec = old.get("spec") or {}
    if spec.get("configSource") is not None and spec["configSource"] != old_spec.get("configSource"):
        raise forbidden(
            attributes, f'node "{node}" is not allowed to update configSource to a new non-nil configSource'
        )
    if (spec.get("taints") or []) != (old_spec.get("taints") or []):
        raise forbidden(attributes, f'node "{node}" is not allowed to modify taints')
    if list(owners_of(new)) != list(owners_of(old)):
        raise forbidden(attributes, f'node "{node}" is not allowed to modify ownerReferences')
    if labels := _forbidden_labels(labels_of(new), labels_of(old)):
        raise forbidden(attributes, f"is not allowed to modify labels: {labels}")


def _forbidden_labels(new: Mapping[str, str], old: Mapping[str, str]) -> str:
    """The labels that differ and that a kubelet may not touch, joined by commas."""
    changed = {key for key in {*new, *old} if new.get(key) != old.get(key)}
    return ", ".join(sorted(key for key in changed if _is_forbidden_label(key)))


def _is_forbidden_label(key: str) -> bool:
    space, separator, _ = key.partition("/")
    if not separator:
        return False
    if _is_within(space, "node-restriction.kubernetes.io"):
        return True
    if not (_is_within(space, "kubernetes.io") or _is_within(space, "k8s.io")):
        return False
    return key not in _OWN_LABELS and not any(_is_within(space, own) for own in _OWN_LABEL_SPACES)


def _is_within(space: str, domain: str) -> bool:
    return space == domain or space.endswith(f".{domain}")


def _check_claim(node: str, attributes: Attributes) -> None:
    if attributes.subresource != "status":
        raise forbidden(attributes, "may only update PVC status")
    if attributes.operation != "UPDATE":
        raise forbidden(attributes, f'unexpected operation "{attributes.operation}"')

    def rest(claim: Mapping[str, Any]) -> Object:
        copy = json_copy(claim)
        for field in ("resourceVersion", "managedFields"):
            copy["metadata"].pop(field, None)
        for field in ("capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"):
            copy.get("status", {}).pop(field, None)
        return copy

    if rest(attributes.old or {"metadata": {}}) != rest(_draft(attributes)):
        raise forbidden(
            attributes,
            f'node "{node}" is not allowed to update fields other than status.quantity and status.conditions',
        )


def _check_lease(node: str, attributes: Attributes) -> None:
    if attributes.namespace != NODE_LEASES:
        raise forbidden(attributes, f'can only access leases in the "{NODE_LEASES}" system namespace')
    if _draft_name(attributes) != node:
        raise forbidden(attributes, "can only access node lease with the same name as the requesting node")


def _check_slice(node: str, attributes: Attributes) -> None:
    obj = attributes.old if attributes.operation == "DELETE" else _draft(attributes)
    if ((obj or {}).get("spec") or {}).get("nodeName") != node:
        raise forbidden(
            attributes, f"can only {attributes.operation.lower()} ResourceSlice with spec.nodeName equal to node"
        )


def _check_signing_request(node: str, attributes: Attributes) -> None:
    """A kubelet asks for certificates of its own name only."""
    if attributes.subresource or attributes.operation != "CREATE":
        return
    spec = _draft(attributes).get("spec") or {}
    if spec.get("signerName") not in ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"):
        return
    import base64

    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        request = x509.load_pem_x509_csr(base64.b64decode(spec.get("request", "")))
    except ValueError as error:
        raise forbidden(attributes, f"unable to parse csr: {error}") from error
    names = [str(name.value) for name in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [attributes.user.name]:
        raise forbidden(attributes, f"can only create a node CSR with CN={attributes.user.name}")
