"""The check that nobody grants what they do not have, as a step of the chain that no flag turns off."""

from __future__ import annotations

from pilothouse.apiserver.admission.plugin import Plugin
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.authz.escalation import EscalationCheck

_GROUP = "rbac.authorization.k8s.io"


class RbacEscalation(Plugin):
    name = "RBACEscalation"
    resources = frozenset(
        f"{plural}.{_GROUP}" for plural in ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
    )

    def __init__(self, check: EscalationCheck) -> None:
        self._check = check

    async def validate(self, attributes: Attributes) -> None:
        if attributes.obj is not None:
            await self._check.check(attributes.user, attributes.resource.gvr.plural, attributes.obj, attributes.old)
