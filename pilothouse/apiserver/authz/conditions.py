"""For which requests a webhook is asked: match conditions in CEL over the spec of a SubjectAccessReview.

Source: apiserver `pkg/authorization/cel`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pilothouse.api.cel.environment import BOOL, DYN, CompileError, Environment, EvaluationError, Program
from pilothouse.api.meta import Object
from pilothouse.api.schema.schema import schema_of
from pilothouse.api.schema.types import Struct, struct_of
from pilothouse.api.status import aggregate
from pilothouse.kit.metrics import Histogram

_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25)
_TEXTS = ("namespace", "verb", "group", "version", "resource", "subresource", "name")


class ConditionsFailed(Exception):
    """At least one condition has no value, and none is false."""


class Compiler:
    """Compiles conditions. Types are checked against the schema, and evaluated without it, where what is not there is an error."""

    def __init__(self) -> None:
        from pilothouse.api.cel.typed import typed_environment

        review = schema_of("authorization.k8s.io/v1", "SubjectAccessReview").struct
        self._typed = typed_environment({}, {"request": _struct(review, "spec")})
        self._untyped = Environment({"request": DYN})

    def compile(self, expression: str) -> Program:
        """Raises CompileError."""
        checked = self._typed.compile(expression)
        if checked.returns != BOOL:
            raise CompileError(f"must evaluate to bool but got {checked.returns}")
        return self._untyped.compile(expression)


def _struct(owner: Struct, field: str) -> Struct:
    found = struct_of(owner.fields[field].type)
    assert found is not None, field
    return found


class ConditionCounts:
    """What came of the conditions of one webhook."""

    def __init__(self) -> None:
        self.exclusions = self.failures = 0
        self.seconds = Histogram(_BUCKETS_S)


class MatchConditions:
    def __init__(
        self, programs: Sequence[Program], monotonic: Callable[[], float], counts: ConditionCounts | None = None
    ) -> None:
        self._programs = tuple(programs)
        self._monotonic = monotonic
        self.counts = counts or ConditionCounts()

    def hold(self, spec: Mapping[str, Any]) -> bool:
        """Whether all conditions are true of the spec of a review. Raises ConditionsFailed if one fails and none is false."""
        began = self._monotonic()
        try:
            return self._hold({"request": _filled(spec)})
        finally:
            self.counts.seconds.observe(self._monotonic() - began)

    def _hold(self, values: Mapping[str, Any]) -> bool:
        errors = []
        for program in self._programs:
            try:
                if program.evaluate(values) is not True:
                    self.counts.exclusions += 1
                    return False
            except EvaluationError as error:
                errors.append(f"cel evaluation error: expression '{program.expression}' resulted in error: {error}")
        if errors:
            self.counts.failures += 1
            raise ConditionsFailed(aggregate(errors))
        return True


def _filled(spec: Mapping[str, Any]) -> Object:
    """The spec with every text and list of the user and the attributes, also the empty ones."""
    request: Object = {
        "user": spec.get("user", ""),
        "groups": spec.get("groups", []),
        "uid": spec.get("uid", ""),
        "extra": spec.get("extra", {}),
    }
    if (resource := spec.get("resourceAttributes")) is not None:
        request["resourceAttributes"] = {**dict.fromkeys(_TEXTS, ""), **resource}
    if (path := spec.get("nonResourceAttributes")) is not None:
        request["nonResourceAttributes"] = {"path": "", "verb": "", **path}
    return request
