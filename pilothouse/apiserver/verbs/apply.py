"""Server-side apply: PATCH with a configuration that says what its author wants to own of an object. Source: KEP-555."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from pilothouse.api.meta import Object
from pilothouse.api.schema import FieldValidation
from pilothouse.api.schema.duplicates import duplicate_fields
from pilothouse.api.status import AlreadyExists, BadRequest, NotFound, StatusError, conflict
from pilothouse.api.view import json_copy
from pilothouse.apiserver import metadata as rules
from pilothouse.apiserver import ownership
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.decode import json_type, media_type
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.options import WriteOptions, write_options
from pilothouse.apiserver.present import object_response
from pilothouse.apiserver.verbs.body import load
from pilothouse.apiserver.write import Write
from pilothouse.kit.http.message import Response

APPLY_PATCH = "application/apply-patch+yaml"
ATTEMPTS = 3
"""How often it is tried again when the object comes or goes meanwhile."""


def is_apply(call: Call) -> bool:
    return media_type(call.request.headers) == APPLY_PATCH


async def apply(call: Call, endpoint: Endpoint, now: float) -> Response:
    """Of an object, which is created if it does not exist, or of its status. Raises BadRequest, Conflict, Invalid, Forbidden."""
    info = call.info
    options = write_options(call.query, "PatchOptions", is_apply=True)
    config = configuration(call)
    if call.recorded is not None:
        call.recorded(config.config)
    registry = await endpoint.registry()
    write = Write(
        call.user,
        info.namespace,
        info.name,
        info.subresource,
        options.dry_run,
        options.to_object(),
        call.warnings,
        ownership.keep,
        endpoint.gvr,
        call.annotations,
        is_repeatable=True,
    )
    namespace = info.namespace if endpoint.gvr.namespaced else ""
    warned = len(call.warnings)

    async def change(present: Object | None) -> Object:
        del call.warnings[warned:]
        draft = await endpoint.settled(lambda: applied(call, endpoint, options, present, config, now))
        rules.check_name(draft, namespace, info.name)
        return draft

    missing: StatusError | None = None
    for _ in range(ATTEMPTS):
        try:
            return await object_response(call, endpoint, 200, await registry.update(change, write), now)
        except NotFound:
            if info.subresource or registry.cacher.get(namespace, info.name) is not None:
                raise
        await call.authorize("create")
        draft = await change(None)
        if uid := draft["metadata"].get("uid"):
            gvr = endpoint.gvr
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(gvr.plural, gvr.group, info.name, why)
        draft["metadata"].pop("resourceVersion", None)
        try:
            return await object_response(call, endpoint, 201, await registry.create(draft, write), now)
        except AlreadyExists as error:
            missing = error
    assert missing is not None
    raise missing


class Configuration(NamedTuple):
    """What a client applies."""

    config: Object
    duplicates: list[str]
    """What is to be said of keys that stand twice."""

    def check(self, call: Call, options: WriteOptions) -> None:
        """Tell of duplicate keys; after the configuration was merged, as conflicts count more. Raises BadRequest."""
        if not self.duplicates or options.field_validation is FieldValidation.IGNORE:
            return
        if options.field_validation is FieldValidation.STRICT:
            listed = "\n  ".join(self.duplicates)
            text = f"error converting YAML to JSON: yaml: unmarshal errors:\n  {listed}"
            raise BadRequest(f"error strict decoding YAML: {text}")
        call.warnings += self.duplicates


def configuration(call: Call) -> Configuration:
    """The decoded body, which may be JSON as well. Raises BadRequest."""
    body = call.request.body
    duplicates: list[str] = []
    if body[:1] == b"{":
        try:
            config = orjson.loads(body)
            if duplicate_fields(body, config):
                # The reader of YAML knows in which lines they are.
                duplicates = _yaml(body)[1]
        except orjson.JSONDecodeError:
            config, duplicates = _yaml(body)
    else:
        config, duplicates = _yaml(body)
    if config is None:
        raise BadRequest("invalid object type: /, Kind=")
    if not isinstance(config, dict):
        raise BadRequest(
            f"error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {json_type(config)} "
            "into Go value of type map[string]interface {}"
        )
    return Configuration(config, duplicates)


def _yaml(body: bytes) -> tuple[object, list[str]]:
    from pilothouse.apiserver import yaml

    try:
        config, duplicates = yaml.load(body)
    except ValueError as error:
        raise BadRequest(f"error decoding YAML: error converting YAML to JSON: yaml: {error}") from None
    return config, [str(duplicate) for duplicate in duplicates]


def applied(
    call: Call, endpoint: Endpoint, options: WriteOptions, present: Object | None, config: Configuration, now: float
) -> Object:
    """The stored object `present` with the configuration merged into it, loaded and defaulted. Raises Conflict, BadRequest."""
    if present is not None and endpoint.gvr != endpoint.resource.gvr:
        present = endpoint.from_stored(present)
    tracker = endpoint.tracker(call.info.subresource)
    draft = tracker.apply(present, json_copy(config.config), options.field_manager, now, force=options.force)
    config.check(call, options)
    return load(draft, call, endpoint, options)
