"""CEL in admission: the environment that match conditions and policies share, and the values of a write in it.

Environments and programs are made when they are first needed and kept. Source: apiserver `pkg/admission/plugin/cel`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pilothouse.api import status
from pilothouse.api.gvr import GVR
from pilothouse.api.user import User, authenticated, service_account_groups, service_account_name
from pilothouse.apiserver.admission.review import admission_request, object_at
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.authz.attributes import Attributes as Access
from pilothouse.apiserver.authz.attributes import Authorizer

if TYPE_CHECKING:
    from pilothouse.api.cel.access import AccessAnswer, AccessQuestion, Authorize
    from pilothouse.api.cel.environment import Environment, Program

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
            program = self._environment(is_composed).compile(expression, returns=returns)
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

    def authorize(self, user: User) -> Authorize:
        """Answers what an expression asks on behalf of `user`."""
        from pilothouse.api.cel.access import AccessAnswer

        def ask(question: AccessQuestion) -> AccessAnswer:
            decision = self._authorizer.authorize(_access(user, question))
            return AccessAnswer(decision.is_allowed, decision.reason)

        return ask

    @staticmethod
    def _environment(is_composed: bool) -> Environment:
        from pilothouse.api.cel.admission import admission_environment

        return admission_environment(is_composed)

    # Match conditions

    async def conditions_hold(
        self, conditions: Sequence[tuple[str, str]], attributes: Attributes, gvr: GVR, *, fails_open: bool
    ) -> bool:
        """Whether all match conditions, name and expression, hold. Raises Forbidden if one fails and nothing is to fail open."""
        from pilothouse.api.cel.environment import BOOL, CompileError, EvaluationError

        values = await self.values(attributes, gvr)
        names = ("object", "oldObject", "request", "authorizer", "authorizer.requestResource")
        known: Mapping[str, Any] = {name: values[name] for name in names}
        authorize = self.authorize(attributes.user)
        errors = []
        for name, expression in conditions:
            try:
                program = self.compile(expression, BOOL, is_composed=False)
                if program.evaluate(known, authorize=authorize) is False:
                    return False
            except (CompileError, EvaluationError) as error:
                errors.append(f"expression '{expression}' resulted in error: {error}" if name else str(error))
        if not errors:
            return True
        if fails_open:
            return False
        text = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
        gvr = attributes.gvr
        raise status.forbidden(gvr.plural, gvr.group, attributes.name, text)


def _access(user: User, question: AccessQuestion) -> Access:
    if question.service_account is not None:
        namespace, name = question.service_account
        user = authenticated(User(service_account_name(namespace, name), groups=service_account_groups(namespace)))
    if question.path:
        return Access(user, question.verb, path=question.path)
    return Access(
        user,
        question.verb,
        question.group,
        "*",
        question.resource,
        question.subresource,
        question.namespace,
        question.name,
        field_selector=question.field_selector,
    )
