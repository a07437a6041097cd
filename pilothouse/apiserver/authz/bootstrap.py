"""The roles and bindings that every cluster has, and how those that exist are brought up to date.

The data is `bootstrap_roles.txt`. Reconciliation adds what is missing and leaves what an administrator added; an object annotated
`rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.
Source: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`, component-helpers `auth/rbac/reconciliation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pilothouse.api import cluster_role as aggregation
from pilothouse.api import gvr as kinds
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object, annotations_of, labels_of, name_of
from pilothouse.apiserver.authz.rules import compact, missing

AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_GROUP = "rbac.authorization.k8s.io"
_KINDS: Mapping[str, GVR] = {
    "ClusterRole": kinds.CLUSTER_ROLES,
    "Role": kinds.ROLES,
    "ClusterRoleBinding": kinds.CLUSTER_ROLE_BINDINGS,
    "RoleBinding": kinds.ROLE_BINDINGS,
}


def objects() -> list[tuple[GVR, Object]]:
    """All of them, roles before the bindings that refer to them, aggregated roles with their rules."""
    parsed = list(_parse((Path(__file__).with_name("bootstrap_roles.txt")).read_text()))
    roles = [obj for gvr, obj in parsed if gvr is kinds.CLUSTER_ROLES]
    for role in aggregation.updates(roles):
        next(obj for obj in roles if name_of(obj) == name_of(role))["rules"] = role["rules"]
    return parsed


def cluster_role(name: str) -> Object:
    """The bootstrap ClusterRole of that name. Raises KeyError."""
    for gvr, obj in objects():
        if gvr is kinds.CLUSTER_ROLES and name_of(obj) == name:
            return obj
    raise KeyError(name)


def reconciled(expected: Object, existing: Mapping[str, Any]) -> Object | None:
    """`existing` with what it lacks of `expected`; None if nothing is to be written."""
    if annotations_of(existing).get(AUTO_UPDATE) == "false":
        return None
    metadata = dict(existing["metadata"])
    metadata["labels"] = {**labels_of(existing), **labels_of(expected)}
    metadata["annotations"] = {**annotations_of(existing), **annotations_of(expected)}
    draft: Object = {**existing, "metadata": metadata}
    if "subjects" in expected:
        present = existing.get("subjects") or []
        absent = [subject for subject in expected["subjects"] if subject not in present]
        if absent:
            draft["subjects"] = [*present, *absent]
    elif "aggregationRule" in expected:
        draft["aggregationRule"] = existing.get("aggregationRule") or expected["aggregationRule"]
    elif absent_rules := missing(existing.get("rules") or (), expected["rules"]):
        draft["rules"] = [*(existing.get("rules") or ()), *compact(absent_rules)]
    return draft if _differs(draft, existing) else None


def _differs(draft: Mapping[str, Any], existing: Mapping[str, Any]) -> bool:
    return (
        labels_of(draft) != labels_of(existing)
        or annotations_of(draft) != annotations_of(existing)
        or any(draft.get(key) != existing.get(key) for key in ("rules", "subjects", "aggregationRule"))
    )


def _parse(text: str) -> Iterable[tuple[GVR, Object]]:
    current: Object = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith(" "):
            current["rules"].append(_rule(line))
            continue
        kind, _, rest = line.partition(" ")
        if kind.endswith("Binding"):
            current = _binding(kind, rest)
        else:
            name, *options = rest.split(" ")
            current = _new(kind, name)
            current["rules"] = []
            for option in options:
                key, _, value = option.partition("=")
                label = {f"{_GROUP}/aggregate-to-{value}": "true"}
                if key == "label":
                    current["metadata"]["labels"].update(label)
                else:
                    current["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": label}]}
        yield _KINDS[kind], current


def _new(kind: str, qualified_name: str) -> Object:
    namespace, _, name = qualified_name.rpartition("/")
    metadata: Object = {"name": name, "labels": dict(_LABELS), "annotations": {AUTO_UPDATE: "true"}}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": f"{_GROUP}/v1", "kind": kind, "metadata": metadata}


def _rule(line: str) -> Object:
    verbs, *columns = (column.split() for column in line.split("|"))
    if len(columns) == 1:
        return {"verbs": verbs, "nonResourceURLs": columns[0]}
    rule: Object = {
        "verbs": verbs,
        "apiGroups": ["" if group == "core" else group for group in columns[0]],
        "resources": columns[1],
    }
    if len(columns) == 3:
        rule["resourceNames"] = columns[2]
    return rule


def _binding(kind: str, rest: str) -> Object:
    names, _, subjects = rest.partition(" : ")
    name, _, role = names.removesuffix(" :").partition(" -> ")
    role_kind, _, role_name = role.partition(" ")
    binding = _new(kind, name)
    binding["roleRef"] = {"apiGroup": _GROUP, "kind": role_kind, "name": role_name}
    binding["subjects"] = [_subject(subject) for subject in subjects.split(", ") if subject]
    return binding


def _subject(text: str) -> Object:
    kind, _, name = text.partition(" ")
    if kind == "ServiceAccount":
        namespace, _, name = name.partition("/")
        return {"kind": kind, "name": name, "namespace": namespace}
    return {"kind": kind, "apiGroup": _GROUP, "name": name}
