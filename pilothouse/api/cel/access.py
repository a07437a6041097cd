"""The `authorizer` of expressions: asks, on behalf of the user of a request, what may be done. Source: apiserver `cel/library/authz.go`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AccessQuestion:
    """What is asked. With a `path` it is about that, else about a resource; with a `service_account` about its rights."""

    verb: str
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    service_account: tuple[str, str] | None = None
    """Namespace and name."""


@dataclass(frozen=True, slots=True)
class AccessAnswer:
    is_allowed: bool
    reason: str = ""
    error: str = ""


Authorize = Callable[[AccessQuestion], AccessAnswer]

_FIELDS = ("group", "resource", "subresource", "namespace", "name", "field_selector", "label_selector", "path")
_ACCOUNT = ("account_namespace", "account_name")
MESSAGES = {
    "Authorizer": _ACCOUNT,
    "PathCheck": ("path", *_ACCOUNT),
    "GroupCheck": ("group", *_ACCOUNT),
    "ResourceCheck": (*_FIELDS, *_ACCOUNT),
    "Decision": ("allowed", "reason", "error"),
}
"""Fields of the values that pass through an expression, all of them text."""


class Access:
    """The functions. `classes` makes the messages of MESSAGES; `ask` is the authorizer of the evaluation that is going on."""

    def __init__(self, classes: Callable[[str], type[Any]], ask: Callable[[], Authorize | None]) -> None:
        self._classes = classes
        self._ask = ask

    def authorizer(self) -> Any:
        return self._classes("Authorizer")()

    def resource_check(self, **fields: str) -> Any:
        return self._classes("ResourceCheck")(**fields)

    def service_account(self, authorizer: Any, namespace: str, name: str) -> Any:
        if not namespace or not name:
            raise ValueError("Invalid service account: namespace and name must not be empty")
        return self._classes("Authorizer")(account_namespace=namespace, account_name=name)

    def path(self, authorizer: Any, path: str) -> Any:
        if not path.strip():
            raise ValueError("path must not be empty")
        return self._next("PathCheck", authorizer, path=path)

    def group(self, authorizer: Any, group: str) -> Any:
        return self._next("GroupCheck", authorizer, group=group)

    def resource(self, check: Any, resource: str) -> Any:
        if not resource.strip():
            raise ValueError("resource must not be empty")
        return self._next("ResourceCheck", check, resource=resource)

    def narrowed(self, field: str) -> Callable[[Any, str], Any]:
        """The function that sets one more field of a resource check."""
        return lambda check, value: self._next("ResourceCheck", check, **{field: value})

    def check(self, check: Any, verb: str) -> Any:
        ask = self._ask()
        if ask is None:
            raise ValueError("no authorizer is available here")
        known = {field.name for field in check.DESCRIPTOR.fields}
        values = {field: getattr(check, field) for field in _FIELDS if field in known}
        account = (check.account_namespace, check.account_name) if check.account_name else None
        answer = ask(AccessQuestion(verb, service_account=account, **values))
        return self._classes("Decision")(
            allowed="yes" if answer.is_allowed else "", reason=answer.reason, error=answer.error
        )

    def _next(self, type_: str, before: Any, /, **fields: str) -> Any:
        kept = {field.name: getattr(before, field.name) for field in before.DESCRIPTOR.fields}
        known = MESSAGES[type_]
        return self._classes(type_)(**{key: value for key, value in {**kept, **fields}.items() if key in known})
