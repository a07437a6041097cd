"""The two plugins: one changes objects, a webhook after the other; one only judges, all webhooks at once."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Sequence

import orjson

from pilothouse.api import gvr as kinds
from pilothouse.api import status
from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.patch import json as json_patch
from pilothouse.api.view import json_copy
from pilothouse.apiserver.admission.expressions import Expressions
from pilothouse.apiserver.admission.matching import is_exempt
from pilothouse.apiserver.admission.measures import CALL_ERROR, INTERNAL_ERROR, NO_ERROR, AdmissionMeasures
from pilothouse.apiserver.admission.plugin import Plugin
from pilothouse.apiserver.admission.redraft import redraft
from pilothouse.apiserver.admission.review import object_at, stored_form
from pilothouse.apiserver.admission.webhooks.call import Denied, call, failure
from pilothouse.apiserver.admission.webhooks.source import Hook, Hooks
from pilothouse.apiserver.attributes import Attributes, Reinvocation
from pilothouse.apiserver.objects import Objects
from pilothouse.apiserver.webhooks.client import CallFailed, WebhookClient
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.apiserver.admission.webhooks")


class _Webhooks(Plugin):
    """What both plugins share."""

    operations = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT"})
    configurations: GVR

    def __init__(
        self,
        objects: Objects,
        client: WebhookClient,
        expressions: Expressions,
        rng: random.Random,
        measures: AdmissionMeasures,
    ) -> None:
        self._measures = measures
        self._objects = objects
        self._client = client
        self._expressions = expressions
        self._rng = rng
        self._hooks = Hooks(objects, self.configurations)

    async def _wanted(self, attributes: Attributes) -> tuple[Hook, ...]:
        hooks = await self._hooks.wanted(attributes.resource)
        return () if not hooks or is_exempt(attributes) else hooks

    async def _version(self, hook: Hook, attributes: Attributes) -> GVR | None:
        """The version in which a webhook is to see a write; None if it is not to be called."""
        gvr = await hook.match.find(attributes, self._objects)
        if gvr is None or not hook.conditions:
            return gvr
        holds = await self._expressions.conditions_hold(hook.conditions, attributes, gvr, fails_open=hook.fails_open)
        return gvr if holds else None

    async def _call(self, hook: Hook, attributes: Attributes, gvr: GVR, *, is_mutating: bool) -> list[Object]:
        """The patch that a webhook wants. Raises the StatusError with which the write is refused."""
        uid = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        began, type_ = self._measures.now(), "admit" if is_mutating else "validating"

        def measure(code: int, error: str = "") -> None:
            self._measures.called(hook.name, type_, attributes.operation, code, began, error=error)

        try:
            patch = await call(self._client, hook, attributes, gvr, uid, is_mutating=is_mutating)
        except Denied as denied:
            measure(denied.error.status_code, NO_ERROR)
            raise denied.error from None
        except CallFailed as error:
            if not hook.fails_open:
                measure(500, CALL_ERROR)
                raise failure(hook, error) from None
            measure(200)
            self._measures.failed_open(hook.name, type_)
            kind = "mutation" if is_mutating else "validating"
            attributes.annotations[f"failed-open.{kind}.webhook.admission.k8s.io/round_0_index_{hook.index}"] = (
                hook.name
            )
            log.warning("webhook failed, and is ignored", webhook=hook.name, reason=str(error))
            return []
        except status.StatusError:
            measure(0, INTERNAL_ERROR)
            raise
        measure(200)
        return patch


class MutatingAdmissionWebhook(_Webhooks):
    name = "MutatingAdmissionWebhook"
    configurations = kinds.MUTATING_WEBHOOK_CONFIGURATIONS

    async def mutate(self, attributes: Attributes) -> None:
        hooks = await self._wanted(attributes)
        if not hooks:
            return
        rounds = attributes.reinvocation = attributes.reinvocation or Reinvocation()
        if rounds.is_second and rounds.last.get(self.name) != attributes.obj:
            rounds.again |= rounds.done
            rounds.done = set()
        for index, hook in enumerate(hooks):
            gvr = await self._version(hook, attributes)
            if gvr is None or (rounds.is_second and hook.key not in rounds.again):
                continue
            patch = await self._call(hook, attributes, gvr, is_mutating=True)
            changed = bool(patch) and await _apply(hook, attributes, gvr, patch)
            _annotate(attributes, hook, index, patch, changed, int(rounds.is_second))
            if changed:
                rounds.changed()
            if hook.is_reinvoked:
                rounds.done.add(hook.key)
        rounds.last[self.name] = json_copy(attributes.obj) if attributes.obj is not None else None


class ValidatingAdmissionWebhook(_Webhooks):
    name = "ValidatingAdmissionWebhook"
    configurations = kinds.VALIDATING_WEBHOOK_CONFIGURATIONS

    async def validate(self, attributes: Attributes) -> None:
        hooks = await self._wanted(attributes)
        if not hooks:
            return
        calls = []
        for hook in hooks:
            gvr = await self._version(hook, attributes)
            if gvr is not None:
                calls.append((hook, gvr))
        if len(calls) == 1:
            await self._call(*_order(calls[0], attributes), is_mutating=False)
            return
        await self._call_all(calls, attributes)

    async def _call_all(self, calls: Sequence[tuple[Hook, GVR]], attributes: Attributes) -> None:
        """All of them at once; the first refusal, in the order in which they are configured, is told."""
        # Up to its first suspension a request is worked on outside a task, which a group of tasks needs around it.
        await asyncio.sleep(0)
        refusals: dict[int, status.StatusError] = {}

        async def one(index: int, hook: Hook, gvr: GVR) -> None:
            try:
                await self._call(hook, attributes, gvr, is_mutating=False)
            except status.StatusError as error:
                refusals[index] = error

        async with asyncio.TaskGroup() as group:
            for index, (hook, gvr) in enumerate(calls):
                group.create_task(one(index, hook, gvr), name=f"webhook {hook.name}")
        if refusals:
            raise refusals[min(refusals)]


def _order(wanted: tuple[Hook, GVR], attributes: Attributes) -> tuple[Hook, Attributes, GVR]:
    return wanted[0], attributes, wanted[1]


async def _apply(hook: Hook, attributes: Attributes, gvr: GVR, patch: list[Object]) -> bool:
    """Change the draft by a webhook's patch; whether that changed anything. Raises InternalError."""
    if attributes.obj is None:
        raise status.InternalError(
            f'Internal error occurred: admission webhook "{hook.name}" attempted to modify the object, which is not supported for '
            "this operation"
        )
    shown = await object_at(attributes.obj, attributes, gvr)
    assert shown is not None
    try:
        patched = json_patch.apply(shown, patch)
    except status.StatusError as error:
        causes = "; ".join(cause.message for cause in error.causes) or error.message
        raise status.InternalError(f"Internal error occurred: {causes}") from None
    return redraft(attributes, await stored_form(patched, attributes, gvr))


def _annotate(attributes: Attributes, hook: Hook, index: int, patch: list[Object], changed: bool, round_: int) -> None:
    told = {"configuration": hook.configuration, "webhook": hook.name}
    place = f"round_{round_}_index_{index}"
    mutation = orjson.dumps({**told, "mutated": changed}).decode()
    attributes.annotations[f"mutation.webhook.admission.k8s.io/{place}"] = mutation
    if patch:
        text = orjson.dumps({**told, "patch": patch, "patchType": "JSONPatch"}).decode()
        attributes.annotations[f"patch.webhook.admission.k8s.io/{place}"] = text
