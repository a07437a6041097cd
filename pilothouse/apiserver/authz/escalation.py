"""Nobody grants what they do not have: the checks on writes of roles and bindings.

Source: `pkg/registry/rbac/*/policybased/storage.go`, `pkg/registry/rbac/escalation_check.go`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pilothouse.api import status
from pilothouse.api.identities import SYSTEM_MASTERS
from pilothouse.api.meta import Object, name_of, namespace_of
from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import Attributes, Authorizer
from pilothouse.apiserver.authz.rbac import Rbac
from pilothouse.apiserver.authz.rules import Rule, compact, missing, show

_GROUP = "rbac.authorization.k8s.io"
_EVERYTHING: tuple[Rule, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)
_GC_FIELDS = ("ownerReferences", "finalizers", "managedFields", "resourceVersion", "generation")


class EscalationCheck:
    """Checks a create or update of an RBAC object before it is stored."""

    def __init__(self, rbac: Rbac, authorizer: Authorizer) -> None:
        self._rbac = rbac
        self._authorizer = authorizer

    async def check(self, user: User, plural: str, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        """Raise Forbidden if `user` may not write `new`. `plural` is roles, clusterroles or one of their bindings."""
        if SYSTEM_MASTERS in user.groups or (old is not None and _only_garbage_collection(new, old)):
            return
        if plural in ("roles", "clusterroles"):
            await self._check_role(user, plural, new, old)
        elif plural in ("rolebindings", "clusterrolebindings"):
            await self._check_binding(user, plural, new)

    async def _check_role(self, user: User, plural: str, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        namespace, name = namespace_of(new), new["metadata"].get("name", "")
        escalate = Attributes(user, "escalate", _GROUP, "*", plural, namespace=namespace, name=name)
        if (await self._authorizer.authorize(escalate)).is_allowed:
            return
        self._confirm(user, plural, name, namespace, new.get("rules") or ())
        aggregates = any((role or {}).get("aggregationRule") for role in (new, old))
        if aggregates and missing(self._rbac.resolve(user, namespace)[0], _EVERYTHING):
            why = "must have cluster-admin privileges to use the aggregationRule"
            raise status.forbidden(plural, _GROUP, name, why)

    async def _check_binding(self, user: User, plural: str, new: Mapping[str, Any]) -> None:
        namespace, reference = namespace_of(new), new["roleRef"]
        role_plural = "roles" if reference["kind"] == "Role" else "clusterroles"
        bind = Attributes(user, "bind", _GROUP, "*", role_plural, namespace=namespace, name=reference["name"])
        if (await self._authorizer.authorize(bind)).is_allowed:
            return
        rules = self._rbac.role_rules(reference, namespace)
        if rules is None:
            raise status.not_found(role_plural, _GROUP, reference["name"])
        self._confirm(user, plural, name_of(new), namespace, rules)

    def _confirm(self, user: User, plural: str, name: str, namespace: str, rules: Iterable[Rule]) -> None:
        owned, errors = self._rbac.resolve(user, namespace)
        lacking = missing(owned, rules)
        if not lacking:
            return
        groups = " ".join(json.dumps(group) for group in user.groups)
        lines = sorted({show(rule) for rule in compact(lacking)})
        why = (
            f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
            + "\n".join(lines)
        )
        if errors:
            why += f"; resolution errors: [{', '.join(errors)}]"
        raise status.forbidden(plural, _GROUP, name, why)


def _only_garbage_collection(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether an update changes nothing but what lets the garbage collector delete the object."""

    def rest(obj: Mapping[str, Any]) -> Object:
        metadata = {key: value for key, value in obj["metadata"].items() if key not in _GC_FIELDS}
        return {**obj, "metadata": metadata}

    return rest(new) == rest(old)
