"""The subresources of a pod that change it: binding, ephemeralcontainers, resize.

Source: `pkg/registry/core/pod/storage/storage.go`, `pkg/registry/core/pod/strategy.go`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pilothouse.api.gvr import PODS
from pilothouse.api.kinds.core.pod import POD
from pilothouse.api.meta import Object, with_condition
from pilothouse.api.path import FieldError, Path, not_supported, required
from pilothouse.api.resource import Resource
from pilothouse.api.status import BadRequest, Conflict, StatusError, aggregate
from pilothouse.api.validate.pod_resize import validate_pod_resize
from pilothouse.api.validate.pod_update import validate_ephemeral_containers_update
from pilothouse.api.view import json_copy
from pilothouse.apiserver import metadata as rules
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.errors import precondition_failed
from pilothouse.apiserver.options import WriteOptions, write_options
from pilothouse.apiserver.ownership import keep
from pilothouse.apiserver.present import object_response, value_response
from pilothouse.apiserver.registry import Registry
from pilothouse.apiserver.tracking import tracking
from pilothouse.apiserver.verbs.apply import applied, configuration, is_apply
from pilothouse.apiserver.verbs.body import read_object
from pilothouse.apiserver.verbs.patch_body import Patch
from pilothouse.apiserver.write import Change, Write
from pilothouse.kit.http.message import Response

SUCCESS: Mapping[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
_RESIZED = ("resources", "resizePolicy")


class PodBinding:
    """`pods/NAME/binding` and `bindings`: gives a pod its node. `registry_of` gives the registry of pods."""

    def __init__(self, registry_of: Callable[[Resource], Awaitable[Registry]]) -> None:
        self._registry_of = registry_of

    async def serve(self, call: Call, endpoint: Endpoint, now: float) -> Response:
        """Raises NotFound, Conflict, Invalid."""
        options = write_options(call.query, "CreateOptions")
        subresource = endpoint.subresources.get("binding")
        binding = read_object(call, endpoint if subresource is None else endpoint.of(subresource), options)
        rules.set_namespace(binding["metadata"], call.info.namespace)
        return await _bind(call, await self._registry_of(POD), binding, options, now)


async def _bind(call: Call, registry: Registry, binding: Object, options: WriteOptions, now: float) -> Response:
    metadata = binding["metadata"]
    name = metadata.get("name", "")
    if not name and not call.info.name:
        raise BadRequest("Name parameter required.")
    if name != (call.info.name or name):
        raise BadRequest("name in URL does not match name in Binding object")
    _check_binding(binding)
    attributes = Attributes(
        "CREATE",
        registry.resource,
        registry.resource.gvr,
        call.info.namespace,
        name,
        call.user,
        binding,
        subresource="binding",
        options=options.to_object(),
        is_dry_run=options.dry_run,
        warnings=call.warnings,
        annotations={} if call.annotations is None else call.annotations,
    )
    await registry.admission.mutate(attributes)
    await registry.admission.validate(attributes)

    async def assign(pod: Object) -> Object:
        _check_pod(pod, metadata)
        pod["spec"]["nodeName"] = binding["target"]["name"]
        for key in ("annotations", "labels"):
            if metadata.get(key):
                pod["metadata"][key] = {**(pod["metadata"].get(key) or {}), **metadata[key]}
        status = pod.setdefault("status", {})
        status.pop("nominatedNodeName", None)
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None}
        status["conditions"] = with_condition(status.get("conditions"), scheduled, now)
        return pod

    await registry.change(assign, Write(call.user, call.info.namespace, name, "binding", options.dry_run))
    return value_response(call, 201, SUCCESS)


def _check_binding(binding: Mapping[str, Any]) -> None:
    target = binding.get("target") or {}
    errors: list[FieldError] = []
    if target.get("kind") and target["kind"] != "Node":
        errors.append(not_supported(Path("target.kind"), target["kind"], ["Node", "<empty>"]))
    if not target.get("name"):
        errors.append(required(Path("target.name")))
    if errors:
        # Upstream does not know these for faults of the client.
        raise StatusError(aggregate(map(str, errors)), code=500)


def _check_pod(pod: Mapping[str, Any], binding: Mapping[str, Any]) -> None:
    metadata, spec = pod["metadata"], pod["spec"]
    name = metadata["name"]
    for key, text in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if binding.get(key) and binding[key] != metadata.get(key):
            raise precondition_failed(
                PODS, metadata.get("namespace", ""), name, text, binding[key], metadata.get(key, "")
            )
    why = ""
    if "deletionTimestamp" in metadata:
        why = f"pod {name} is being deleted, cannot be assigned to a host"
    elif spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
    elif spec.get("schedulingGates"):
        why = f"pod {name} has non-empty .spec.schedulingGates"
    if why:
        raise Conflict(f'Operation cannot be fulfilled on pods/binding "{name}": {why}', kind="pods/binding", name=name)


async def ephemeral_containers(call: Call, endpoint: Endpoint, now: float) -> Response:
    """Add containers for debugging to a running pod: `kubectl debug`."""

    def take(present: Object, sent: Mapping[str, Any]) -> None:
        added = (sent.get("spec") or {}).get("ephemeralContainers")
        if added:
            present["spec"]["ephemeralContainers"] = added
        else:
            present["spec"].pop("ephemeralContainers", None)

    return await part(call, endpoint, now, take, validate_ephemeral_containers_update)


async def resize(call: Call, endpoint: Endpoint, now: float) -> Response:
    """Change the resources of a pod's containers while they run (KEP-1287)."""

    def take(present: Object, sent: Mapping[str, Any]) -> None:
        present["spec"] = _resized(present["spec"], sent.get("spec") or {})

    return await part(call, endpoint, now, take, validate_pod_resize)


def _resized(spec: Object, sent: Mapping[str, Any]) -> Object:
    """`spec` with the resources that were sent. Other containers than before are left for validation to refuse."""
    result = {key: value for key, value in spec.items() if key != "resources"}
    if "resources" in sent:
        result["resources"] = sent["resources"]
    for field in ("containers", "initContainers"):
        before, now = spec.get(field) or (), sent.get(field) or ()
        if len(before) != len(now):
            return dict(sent)
        if [container.get("name") for container in before] != [container.get("name") for container in now]:
            result[field] = now
        elif now:
            result[field] = [_with_resources(old, new) for old, new in zip(before, now, strict=True)]
    return result


def _with_resources(container: Mapping[str, Any], sent: Mapping[str, Any]) -> Object:
    result = {key: value for key, value in container.items() if key not in _RESIZED}
    return result | {key: sent[key] for key in _RESIZED if key in sent}


async def part(
    call: Call,
    endpoint: Endpoint,
    now: float,
    take: Callable[[Object, Mapping[str, Any]], None],
    check: Callable[[Mapping[str, Any], Mapping[str, Any]], Sequence[FieldError]],
) -> Response:
    """GET gives the pod; PUT and PATCH take one part of it."""
    info = call.info
    registry = await endpoint.registry()
    if info.verb == "get":
        return await object_response(call, endpoint, 200, (await registry.get(info.namespace, info.name)).wire, now)
    applies = info.verb == "patch" and is_apply(call)
    options = write_options(call.query, "UpdateOptions" if info.verb == "update" else "PatchOptions", is_apply=applies)
    if applies:
        change = _applying(call, endpoint, options, take, now)
    elif info.verb == "update":
        change = _replacing(call, endpoint, options, take, now)
    else:
        change = _patching(call, endpoint, options, take, now)
    write = Write(
        call.user,
        info.namespace,
        info.name,
        info.subresource,
        options.dry_run,
        options.to_object(),
        call.warnings,
        keep,
        annotations=call.annotations,
    )
    return await object_response(call, endpoint, 200, await registry.update(change, write, check=check), now)


def _replacing(
    call: Call,
    endpoint: Endpoint,
    options: WriteOptions,
    take: Callable[[Object, Mapping[str, Any]], None],
    now: float,
) -> Change:
    sent = read_object(call, endpoint, options)
    rules.check_name(sent, call.info.namespace, call.info.name)
    track = tracking(call, endpoint, options)

    async def change(present: Object) -> Object:
        uid, metadata = sent["metadata"].get("uid"), present["metadata"]
        if uid and uid != metadata["uid"]:
            raise precondition_failed(PODS, metadata["namespace"], metadata["name"], "UID", uid, metadata["uid"])
        owned = {**sent, "metadata": dict(sent["metadata"])}
        track(present, owned, now)
        _take(present, owned, take)
        return present

    return change


def _patching(
    call: Call,
    endpoint: Endpoint,
    options: WriteOptions,
    take: Callable[[Object, Mapping[str, Any]], None],
    now: float,
) -> Change:
    document = Patch(call, endpoint, options)
    track = tracking(call, endpoint, options)

    async def change(present: Object) -> Object:
        sent = document.result(json_copy(present), call, endpoint, options)
        rules.check_name(sent, call.info.namespace, call.info.name)
        track(present, sent, now)
        _take(present, sent, take)
        return present

    return change


def _applying(
    call: Call,
    endpoint: Endpoint,
    options: WriteOptions,
    take: Callable[[Object, Mapping[str, Any]], None],
    now: float,
) -> Change:
    config = configuration(call)

    async def change(present: Object) -> Object:
        sent = applied(call, endpoint, options, json_copy(present), config, now)
        rules.check_name(sent, call.info.namespace, call.info.name)
        _take(present, sent, take)
        return present

    return change


def _take(present: Object, sent: Mapping[str, Any], take: Callable[[Object, Mapping[str, Any]], None]) -> None:
    """Take the part; and who owns what, where the client owns all that it sent, also what is not taken, as upstream has it."""
    for key in ("resourceVersion", "uid", "managedFields"):
        if sent["metadata"].get(key):
            present["metadata"][key] = sent["metadata"][key]
    take(present, sent)
