"""The patch in a request's body, and what it makes of an object.

A patch whose result its schema refuses is Invalid, not a bad request: the fault is shown beside the patch, or beside the whole result for
patches that are applied to JSON. Source: apiserver `endpoints/handlers/patch.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from pilothouse.api.meta import Object
from pilothouse.api.patch import json as json_patch
from pilothouse.api.patch import merge as merge_patch
from pilothouse.api.patch import strategic as strategic_patch
from pilothouse.api.path import Path, invalid, invalid_object
from pilothouse.api.schema.duplicates import duplicate_fields
from pilothouse.api.schema.schema import CannotBeHandled, FieldValidation, strict_error
from pilothouse.api.status import BadRequest, Invalid, UnsupportedMediaType
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.decode import media_type
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.errors import unsupported_media_type
from pilothouse.apiserver.metadata import no_name
from pilothouse.apiserver.options import WriteOptions
from pilothouse.apiserver.verbs.body import load

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)


class Patch:
    """A decoded patch of one of `PATCH_TYPES`, which may be applied any number of times."""

    def __init__(self, call: Call, endpoint: Endpoint, options: WriteOptions) -> None:
        """Raises UnsupportedMediaType. Doubled and unknown fields become warnings if the options say so."""
        self._type = _patch_type(call, endpoint)
        self._body = call.request.body
        self._problems: Sequence[str] = ()
        self._fault: BadRequest | None = None
        try:
            self._document = self._decoded()
        except BadRequest as fault:
            # That there is nothing to patch counts more.
            self._fault = fault
            return
        if call.recorded is not None:
            call.recorded(self._document)
        if options.field_validation is not FieldValidation.IGNORE:
            self._problems = self._find_problems()
        if options.field_validation is FieldValidation.WARN:
            call.warnings += self._problems

    def result(self, obj: Object, call: Call, endpoint: Endpoint, options: WriteOptions) -> Object:
        """`obj`, in the version of `endpoint`, after the patch, as a registry takes it; `obj` may be changed.

        Raises BadRequest for what is no patch of this type, and Invalid for a result that cannot be read.
        """
        if self._fault is not None:
            raise self._fault
        patched = self._applied(obj, self._document, endpoint)
        if self._type == STRATEGIC_PATCH:
            # Upstream patches the value that the type has, which does not include its name.
            patched["kind"], patched["apiVersion"] = endpoint.gvr.kind, endpoint.gvr.api_version
        elif not endpoint.is_custom and not patched.get("apiVersion"):
            raise no_name(call.info.name)
        try:
            endpoint.identify(patched)
        except BadRequest as error:
            why = error.message.partition(f" cannot be handled as a {endpoint.gvr.kind}: ")[2] or error.message
            raise self._refusal(why, obj, endpoint) from None
        try:
            loaded = load(patched, call, endpoint, options, like=obj)
        except CannotBeHandled as error:
            why = strict_error([*self._problems, *error.problems]) if error.problems else error.why
            if self._type == STRATEGIC_PATCH and not error.problems:
                why = error.restoring
            raise self._refusal(why, obj, endpoint) from None
        if self._problems and options.field_validation is FieldValidation.STRICT:
            raise self._refusal(strict_error(self._problems), obj, endpoint)
        return loaded

    def _decoded(self) -> Any:
        try:
            return orjson.loads(self._body)
        except orjson.JSONDecodeError:
            from pilothouse.api import json_text

            try:
                document = json_text.decode(self._body)
            except json_text.Fault as fault:
                prefix = "" if self._type == STRATEGIC_PATCH else "error decoding patch: "
                raise BadRequest(f"{prefix}{fault}") from None
            self._body = self._body.decode(errors="replace").encode()
            return document

    def _find_problems(self) -> list[str]:
        duplicates = [f'duplicate field "{path}"' for path in duplicate_fields(self._body, self._document)]
        if self._type != JSON_PATCH or not isinstance(self._document, list):
            return duplicates
        unknown = [
            f'unknown field "[{index}].{key}"'
            for index, operation in enumerate(self._document)
            if isinstance(operation, dict)
            for key in operation
            if key not in json_patch.FIELDS
        ]
        return [f"json patch {problem}" for problem in (*unknown, *duplicates)]

    def _applied(self, obj: Object, document: Any, endpoint: Endpoint) -> Object:
        if self._type == STRATEGIC_PATCH:
            try:
                schema = strategic_patch.schema_of_struct(endpoint.schema.struct)
                return strategic_patch.apply(obj, document, schema)
            except TypeError as error:
                # A list or a map where a scalar tells the elements of a list apart.
                raise BadRequest(f"error decoding patch: {error}") from None
        if self._type == JSON_PATCH:
            try:
                return json_patch.apply(obj, document)
            except Invalid as error:
                # Upstream does not say which operation failed, or why.
                raise Invalid(error.message, has_details=True) from None
        return merge_patch.apply(obj, document)

    def _refusal(self, why: str, obj: Object, endpoint: Endpoint) -> Invalid:
        document = self._decoded()
        if self._type == STRATEGIC_PATCH:
            shown = _go_map(document)
        else:
            shown = orjson.dumps(self._applied(obj, document, endpoint), option=orjson.OPT_SORT_KEYS).decode()
        return invalid_object("", "", "", [invalid(Path("patch"), shown, why)])


def _patch_type(call: Call, endpoint: Endpoint) -> str:
    """Raises UnsupportedMediaType, as upstream's router says it, or for custom kinds, which that does not know, its patch handler."""
    type_ = media_type(call.request.headers)
    if endpoint.is_custom and type_ not in (JSON_PATCH, MERGE_PATCH):
        raise unsupported_media_type((JSON_PATCH, MERGE_PATCH, "application/apply-patch+yaml"))
    if type_ not in PATCH_TYPES:
        raise UnsupportedMediaType("415: Unsupported Media Type", has_details=True)
    return type_


def _go_map(value: Any) -> str:
    """A decoded value as Go's `%+v` shows it."""
    match value:
        case dict():
            return f"map[{' '.join(f'{key}:{_go_map(value[key])}' for key in sorted(value))}]"
        case list():
            return f"[{' '.join(map(_go_map, value))}]"
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
