"""The environments of expressions in admission: match conditions of webhooks, and policies.

An expression runs with values of any type; when it is written it is checked with the types that the request, the namespace and the
variables of its policy have, `AdmissionTypes`. Source: apiserver `pkg/admission/plugin/cel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from pilothouse.api.cel.declared import Declared
from pilothouse.api.cel.environment import AUTHORIZER, DYN, RESOURCE_CHECK, CompileError, Environment

if TYPE_CHECKING:
    from pilothouse.api.cel.ast import Type
    from pilothouse.api.cel.declared_environment import DeclaredEnvironment

VARIABLES = {
    "object": DYN,
    "oldObject": DYN,
    "request": DYN,
    "authorizer": AUTHORIZER,
    "authorizer.requestResource": RESOURCE_CHECK,
}
POLICY_VARIABLES = {**VARIABLES, "params": DYN, "variables": DYN, "namespaceObject": DYN}
_ACCESS = {"authorizer": AUTHORIZER, "authorizer.requestResource": RESOURCE_CHECK}


@lru_cache(2)
def admission_environment(is_policy: bool) -> Environment:
    """What expressions of a policy, or of a webhook, know; one of each in a process."""
    return Environment(POLICY_VARIABLES if is_policy else VARIABLES, mutates=is_policy)


class AdmissionTypes:
    """Checks the expressions of one webhook or policy that is written, in the order of its variables."""

    def __init__(
        self, *, is_policy: bool, has_params: bool = False, has_variables: bool = False, mutates: bool = False
    ) -> None:
        self._has_variables = has_variables
        self._is_policy = is_policy
        self._has_params = has_params
        self._mutates = mutates
        self._variables: dict[str, Declared] = {}
        self._environment: DeclaredEnvironment | None = None

    def check(self, expression: str, *returns: str, shown: str = "", constructs: bool = False) -> Type:
        """The type of an expression; its values must be of one of the types `returns`, of which messages speak as `shown`.

        With `constructs` it makes objects, in maps of values of several types. Raises CompileError.
        """
        from pilothouse.api.cel import ast

        if self._environment is None:
            self._environment = self._typed()
        program = self._environment.compile(expression, mixes=constructs)
        type_ = ast.parse(program.serialized()).type
        allowed = (*returns, DYN) if constructs else returns
        if returns and type_.name not in allowed:
            wanted = shown or returns[0]
            which = f"one of [{' '.join(_NAMES.get(each, each) for each in returns)}]" if len(returns) > 1 else wanted
            raise CompileError(f"must evaluate to {which} but got {_shown(type_)}")
        return type_

    def add_variable(self, name: str, type_: Type | None) -> None:
        """Let the expressions after it know a variable; None for one that does not compile, which may be anything."""
        from pilothouse.api.cel.declared_environment import declared_of

        known = {} if self._environment is None else self._environment.declared
        self._variables[name] = Declared("dyn", 1) if type_ is None else declared_of(type_, known)
        self._environment = None

    def _typed(self) -> DeclaredEnvironment:
        from pilothouse.api.cel.declared_environment import DeclaredEnvironment

        declared = dict(_requests())
        plain = {"object": DYN, "oldObject": DYN, **_ACCESS}
        if not self._is_policy:
            del declared["namespaceObject"]
        if self._has_params:
            plain["params"] = DYN
        if self._has_variables:
            declared["variables"] = _struct(self._variables)
        return DeclaredEnvironment(declared, plain, mutates=self._mutates)


_NAMES = {"null": "null_type"}


def _shown(type_: Type) -> str:
    name = _NAMES.get(type_.message or type_.name, type_.message or type_.name)
    return f"{name}({', '.join(map(_shown, type_.of))})" if type_.of and not type_.message else name


def _struct(fields: Mapping[str, Declared]) -> Declared:
    return Declared("object", 2, fields=fields)


@lru_cache(1)
def _requests() -> Mapping[str, Declared]:
    """The types of the request and of its namespace."""
    text, number, moment = Declared("string", 2), Declared("int", 1), Declared("timestamp", 2)
    texts, map_ = Declared("list", 2, item=text), Declared("map", 2, item=text)
    kind = _struct(dict.fromkeys(("group", "version", "kind"), text))
    resource = _struct(dict.fromkeys(("group", "version", "resource"), text))
    user = _struct({"username": text, "uid": text, "groups": texts, "extra": Declared("map", 2, item=texts)})
    request = _struct(
        {
            **dict.fromkeys(("subResource", "requestSubResource", "name", "namespace", "operation"), text),
            "kind": kind,
            "requestKind": kind,
            "resource": resource,
            "requestResource": resource,
            "userInfo": user,
            "dryRun": Declared("bool", 4),
            "options": Declared("dyn", 1),
        }
    )
    condition = _struct({**dict.fromkeys(("status", "type", "message", "reason"), text), "lastTransitionTime": moment})
    metadata = _struct(
        {
            **dict.fromkeys(("name", "generateName", "namespace", "UID", "resourceVersion"), text),
            "labels": map_,
            "annotations": map_,
            "finalizers": texts,
            "generation": number,
            "creationTimestamp": moment,
            "deletionTimestamp": moment,
            "deletionGracePeriodSeconds": number,
        }
    )
    status = _struct({"conditions": Declared("list", 2, item=condition), "phase": text})
    namespace = _struct({"metadata": metadata, "spec": _struct({"finalizers": texts}), "status": status})
    return {"request": request, "namespaceObject": namespace}
