"""CEL in admission: the environment that match conditions and policies share, and the values of a write in it.

Environments and programs are made when they are first needed and kept. Source: apiserver `pkg/admission/plugin/cel`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pilothouse.api import status
from pilothouse.api.gvr import GVR
from pilothouse.api.user import User
from pilothouse.apiserver.admission.review import admission_request, object_at
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.authz.attributes import Authorizer

if TYPE_CHECKING:
    from pilothouse.api.cel.environment import Environment, Program
    from pilothouse.apiserver.admission.access import Access

MAX_PROGRAMS = 4096


class Expressions:
    """Compiles and evaluates."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self._programs: OrderedDict[tuple[str, bool, tuple[str, ...]], Program] = OrderedDict()

    def compile(self, expression: str, *returns: str, is_composed: bool = True) -> Program:
        """Raises CompileError. With `is_composed` the variables of a policy are there: `params`, `variables`, `namespaceObject`."""
        identity = expression, is_composed, returns
        program = self._programs.get(identity)
        if program is None:
            program = self._environment(is_composed).compile(expression, returns=returns, is_new=False)
            self._programs[identity] = program
            if len(self._programs) > MAX_PROGRAMS:
                self._programs.popitem(last=False)
        return program

    async def values(self, attributes: Attributes, gvr: GVR) -> dict[str, Any]:
        """The variables of a write that was matched by version `gvr`."""
        environment = self._environment(is_composed=True)
        request = admission_request(attributes, gvr)
        request["options"] = dict(attributes.options) or None
        return {
            "object": await object_at(attributes.obj, attributes, gvr),
            "oldObject": await object_at(attributes.old, attributes, gvr),
            "request": request,
            "params": None,
            "namespaceObject": None,
            "variables": {},
            "authorizer": environment.authorizer(),
            "authorizer.requestResource": environment.resource_check(
                group=gvr.group,
                resource=gvr.plural,
                subresource=attributes.subresource,
                namespace=attributes.namespace,
                name=attributes.name,
            ),
        }

    def access(self, user: User) -> Access:
        """Answers what expressions ask on behalf of `user`."""
        from pilothouse.apiserver.admission.access import Access

        return Access(user, self._authorizer)

    @staticmethod
    def _environment(is_composed: bool) -> Environment:
        from pilothouse.api.cel.admission import admission_environment

        return admission_environment(is_composed)

    # Match conditions

    async def conditions_hold(
        self, conditions: Sequence[tuple[str, str]], attributes: Attributes, gvr: GVR, *, fails_open: bool
    ) -> bool:
        """Whether all match conditions, name and expression, hold. Raises Forbidden if one fails and nothing is to fail open."""
        values = await self.values(attributes, gvr)
        names = ("object", "oldObject", "request", "authorizer", "authorizer.requestResource")
        known: Mapping[str, Any] = {name: values[name] for name in names}
        access = self.access(attributes.user)
        holds, errors = await access.settle(lambda: self._try(conditions, known, access))
        if not holds or not errors:
            return holds
        if fails_open:
            return False
        text = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
        gvr = attributes.gvr
        raise status.forbidden(gvr.plural, gvr.group, attributes.name, text)

    def _try(
        self, conditions: Sequence[tuple[str, str]], values: Mapping[str, Any], access: Access
    ) -> tuple[bool, list[str]]:
        """Whether no condition is false, and the errors of those that failed."""
        from pilothouse.api.cel.environment import BOOL, CompileError, EvaluationError

        errors = []
        for name, expression in conditions:
            try:
                program = self.compile(expression, BOOL, is_composed=False)
                if access.evaluate(program, values) is False:
                    return False, []
            except (CompileError, EvaluationError) as error:
                errors.append(f"expression '{expression}' resulted in error: {error}" if name else str(error))
        return True, errors
