"""Which ReplicaSet has the Deployment's present template, and how revisions are numbered and annotated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from pilothouse.api import meta
from pilothouse.api.gvr import DEPLOYMENTS, REPLICA_SETS
from pilothouse.api.meta import Object
from pilothouse.api.view import json_copy
from pilothouse.api.views.deployment import DeploymentView
from pilothouse.api.views.replica_set import ReplicaSetView

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
TEMPLATE_HASH = "pod-template-hash"
HISTORY_LENGTH = 2000
NAME_LENGTH = 253

NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    }
)
_SAFE_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def by_age(replica_sets: Iterable[Object]) -> list[Object]:
    """The oldest first; of the same age, by name."""
    return sorted(replica_sets, key=lambda one: (one["metadata"].get("creationTimestamp") or "", meta.name_of(one)))


def find_new(deployment: Mapping[str, Any], replica_sets: Iterable[Object]) -> Object | None:
    """The oldest ReplicaSet that has the Deployment's template."""
    wanted = fingerprint(DeploymentView(deployment).template)
    return next((one for one in by_age(replica_sets) if fingerprint(ReplicaSetView(one).template) == wanted), None)


def fingerprint(template: Mapping[str, Any]) -> bytes:
    """What makes templates equal: everything but the label that the hash itself added."""
    given = template.get("metadata") or {}
    labels = {name: value for name, value in (given.get("labels") or {}).items() if name != TEMPLATE_HASH}
    metadata = {name: value for name, value in {**given, "labels": labels}.items() if value}
    return orjson.dumps({**template, "metadata": metadata}, option=orjson.OPT_SORT_KEYS)


def template_hash(template: Mapping[str, Any], collisions: int | None) -> str:
    """A short hash of the template, in letters that form no words. `collisions` makes it another one."""
    text = fingerprint(template) + (b"" if collisions is None else str(collisions).encode())
    value = 2166136261
    for byte in text:
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return "".join(_SAFE_LETTERS[ord(digit) % len(_SAFE_LETTERS)] for digit in str(value))


def revision_of(obj: Mapping[str, Any]) -> int:
    """Its revision; zero if it has none or not a number."""
    try:
        return int(meta.annotations_of(obj).get(REVISION, "0"))
    except ValueError:
        return 0


def next_revision(old: Sequence[Object]) -> int:
    """The number of a revision newer than all `old`."""
    return max((revision_of(one) for one in old), default=0) + 1


def new_replica_set(deployment: Mapping[str, Any], revision: int) -> Object:
    """The ReplicaSet, still of no size, for the Deployment's present template. Its name follows from the template."""
    view = DeploymentView(deployment)
    hashed = template_hash(view.template, view.collision_count)
    template = json_copy(view.template)
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    labels[TEMPLATE_HASH] = hashed
    selector = json_copy(view.selector or {})
    selector.setdefault("matchLabels", {})[TEMPLATE_HASH] = hashed
    spec: Object = {"replicas": 0, "selector": selector, "template": template}
    if view.min_ready_s:
        spec["minReadySeconds"] = view.min_ready_s
    replica_set = {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": REPLICA_SETS.kind,
        "metadata": {
            "name": f"{view.name[: NAME_LENGTH - 1 - len(hashed)]}-{hashed}",
            "namespace": view.namespace,
            "labels": dict(labels),
            "ownerReferences": [meta.controller_reference(deployment, DEPLOYMENTS)],
        },
        "spec": spec,
    }
    annotations = revision_annotations(deployment, replica_set, revision)
    replica_set["metadata"] |= {"annotations": {**annotations, **size_annotations(deployment)}}  # type: ignore[operator]
    return replica_set


def revision_annotations(
    deployment: Mapping[str, Any], replica_set: Mapping[str, Any], revision: int
) -> dict[str, str]:
    """The annotations that the new ReplicaSet should have: the Deployment's own and the revision, with the revisions it had before."""
    annotations = dict(meta.annotations_of(replica_set))
    for name, value in meta.annotations_of(deployment).items():
        if name not in NOT_COPIED:
            annotations[name] = value
    former = annotations.get(REVISION)
    if revision_of(replica_set) < revision:
        annotations[REVISION] = str(revision)
        if former is not None:
            history = annotations.get(REVISION_HISTORY, "")
            annotations[REVISION_HISTORY] = _with_revision(history, former)
    return annotations


def size_annotations(deployment: Mapping[str, Any]) -> dict[str, str]:
    """What a ReplicaSet is told of the Deployment's size, by which a later change of it is noticed."""
    view = DeploymentView(deployment)
    return {DESIRED_REPLICAS: str(view.replicas), MAX_REPLICAS: str(view.replicas + view.max_surge)}


def _with_revision(history: str, revision: str) -> str:
    revisions = [*history.split(","), revision] if history else [revision]
    while len(revisions) > 1 and len(",".join(revisions)) > HISTORY_LENGTH:
        del revisions[0]
    return ",".join(revisions)
