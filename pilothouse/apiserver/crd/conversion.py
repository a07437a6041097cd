"""Asks a definition's conversion webhook for objects at another version of their kind.

All objects of one question go out in one ConversionReview, and those that are at the version already are not asked about. A webhook may
change anything but what an object is (kind, name, namespace, uid); of its metadata only labels and annotations are taken.
Source: apiextensions-apiserver `pkg/apiserver/conversion/webhook_converter.go`, `apiextensions/v1` ConversionReview.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api.meta import Object
from pilothouse.api.path import FieldError, Path
from pilothouse.api.status import StatusError
from pilothouse.api.validate.metadata import check_annotations, check_labels
from pilothouse.apiserver.webhooks.client import CallFailed, WebhookClient
from pilothouse.kit.clock import Clock
from pilothouse.kit.metrics import Family, Histogram

GROUP = "apiextensions.k8s.io"
REVIEW_VERSIONS = ("v1", "v1beta1")
TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 256 << 20
"""As much as a list of everything may take; upstream knows no limit."""
_IDENTITY = (("name", "name"), ("namespace", "namespace"), ("uid", "UID"))
_BUCKETS_S = tuple(0.001 * 2**power for power in range(15))
_REQUEST_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)

_CALL = "conversion_webhook_call_failure"
_MALFORMED = "conversion_webhook_malformed_response_failure"
_PARTIAL = "conversion_webhook_partial_response_failure"
_INVALID = "conversion_webhook_invalid_converted_object_failure"


class ConversionFailed(StatusError):
    """The webhook gave no converted objects; an answer with code 500 and no reason, as upstream's."""


class _Unusable(Exception):
    """What is wrong with an answer."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class ConversionMetrics:
    """What all conversions of a server have cost, under upstream's names."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], int] = {}
        self._seconds: dict[tuple[str, str], Histogram] = {}
        self._by_kind: dict[tuple[str, str, str, str], Histogram] = {}

    def observe(self, crd: str, source: str, target: str, failure: str, seconds: float) -> None:
        outcome = ("failure" if failure else "success", failure)
        self._calls[outcome] = self._calls.get(outcome, 0) + 1
        self._seconds.setdefault(outcome, Histogram(_REQUEST_BUCKETS_S)).observe(seconds)
        kind = (crd, source, target, "false" if failure else "true")
        self._by_kind.setdefault(kind, Histogram(_BUCKETS_S)).observe(seconds)

    def families(self) -> Iterable[Family]:
        calls = Family("apiserver_conversion_webhook_request_total", "counter", "Conversion webhook requests.")
        seconds = Family("apiserver_conversion_webhook_duration_seconds", "histogram", "How long these took.")
        for (result, failure), count in self._calls.items():
            calls.add(count, {"result": result, "failure_type": failure})
        for (result, failure), histogram in self._seconds.items():
            histogram.add_to(seconds, {"result": result, "failure_type": failure})
        name = "apiserver_crd_conversion_webhook_duration_seconds"
        by_kind = Family(name, "histogram", "How long conversions took, by definition and versions.")
        for (crd, source, target, succeeded), histogram in self._by_kind.items():
            labels = {"crd_name": crd, "from_version": source, "to_version": target, "succeeded": succeeded}
            histogram.add_to(by_kind, labels)
        return (calls, seconds, by_kind)


class Conversion:
    """The webhook of one state of a definition."""

    def __init__(
        self,
        definition: Mapping[str, Any],
        client: WebhookClient,
        metrics: ConversionMetrics,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        webhook = definition["spec"]["conversion"]["webhook"]
        self._name = definition["metadata"]["name"]
        self._kind = definition["spec"]["names"]["kind"]
        self._config: Mapping[str, Any] = webhook["clientConfig"]
        self._versions: Sequence[str] = webhook.get("conversionReviewVersions") or ()
        self._client = client
        self._metrics = metrics
        self._clock = clock
        self._rng = rng

    async def convert(self, objects: Sequence[Object], target: str, *, is_list: bool = False) -> list[Object]:
        """The objects at apiVersion `target`, in the same order. Raises ConversionFailed.

        Nothing but labels and annotations of the metadata comes from the webhook. `is_list` is how messages speak of the objects.
        """
        asked = [obj for obj in objects if obj["apiVersion"] != target]
        if not asked:
            return list(objects)
        started = self._clock.monotonic()
        failure = ""
        spoken = f"{target}, Kind={self._kind}List" if is_list else f"{asked[0]['apiVersion']}, Kind={self._kind}"
        try:
            converted = iter(await self._ask(asked, target, is_list=is_list))
        except _Unusable as error:
            failure = error.kind
            raise ConversionFailed(f"conversion webhook for {spoken} {error}", code=500) from None
        finally:
            source = asked[0]["apiVersion"].rpartition("/")[2]
            seconds = self._clock.monotonic() - started
            self._metrics.observe(self._name, source, target.rpartition("/")[2], failure, seconds)
        return [obj if obj["apiVersion"] == target else next(converted) for obj in objects]

    async def _ask(self, asked: Sequence[Object], target: str, *, is_list: bool) -> list[Object]:
        uid = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        version = next((each for each in self._versions if each in REVIEW_VERSIONS), None)
        if version is None:
            raise _Unusable(_CALL, "failed: no supported conversion review versions")
        api_version = f"{GROUP}/{version}"
        request = {"uid": uid, "desiredAPIVersion": target, "objects": list(asked)}
        review = {"kind": "ConversionReview", "apiVersion": api_version, "request": request}
        try:
            answer = await self._client.post(self._config, review, TIMEOUT_S, max_bytes=MAX_ANSWER_BYTES)
        except CallFailed as error:
            raise _Unusable(_CALL, f"failed: {error}") from None
        found = _converted(answer, uid, api_version)
        if len(found) != len(asked):
            raise _Unusable(_PARTIAL, f"returned {len(found)} objects, expected {len(asked)}")
        return [
            _accepted(before, after, target, index, is_list=is_list)
            for index, (before, after) in enumerate(zip(asked, found, strict=True))
        ]


def _converted(answer: Mapping[str, Any], uid: str, api_version: str) -> list[Any]:
    """The objects of an answer. Version v1beta1 names neither its kind nor the uid, or does it as it likes."""
    response = answer.get("response")
    if api_version == f"{GROUP}/v1":
        said = f"{answer.get('apiVersion', '')}, Kind={answer.get('kind', '')}"
        if said != f"{api_version}, Kind=ConversionReview":
            why = f"failed: expected webhook response of {api_version}, Kind=ConversionReview, got {said}"
            raise _Unusable(_MALFORMED, why)
    if not isinstance(response, Mapping):
        raise _Unusable(_MALFORMED, "failed: no response provided")
    if api_version == f"{GROUP}/v1" and response.get("uid", "") != uid:
        raise _Unusable(_MALFORMED, f'failed: expected response.uid="{uid}", got "{response.get("uid", "")}"')
    result = response.get("result")
    result = result if isinstance(result, Mapping) else {}
    if result.get("status") != "Success":
        why = result.get("message") or f"response.result.status was '{result.get('status', '')}', not 'Success'"
        raise _Unusable(_MALFORMED, f"failed: {why}")
    found = response.get("convertedObjects")
    return found if isinstance(found, list) else []


def _accepted(before: Object, after: Any, target: str, index: int, *, is_list: bool) -> Object:
    """A converted object with the metadata that it may have. Raises _Unusable."""
    where = f"returned invalid converted object at index {index}" if is_list else "returned invalid object at index 0"
    if not isinstance(after, dict) or not after.get("kind"):
        raise _Unusable(_INVALID, f"{where}: Object 'Kind' is missing")
    got = after.get("apiVersion", "")
    if got != target:
        raise _Unusable(_INVALID, f"{where}: invalid groupVersion (expected {target}, received {got})")
    if after["kind"] != before["kind"]:
        kinds = f"(expected {before['kind']}, received {after['kind']})"
        raise _Unusable(_INVALID, f"{where}: invalid kind {kinds}")
    metadata = after.get("metadata")
    named: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
    own = before["metadata"]
    where = where if is_list else "returned invalid object"
    for key, shown in _IDENTITY:
        if (own.get(key) or "") != (named.get(key) or ""):
            why = f"must have the same {shown}: {own.get(key) or ''} != {named.get(key) or ''}"
            raise _Unusable(_INVALID, f"{where}: {why}")
    where = f"returned invalid metadata in object at index {index}" if is_list else "returned invalid metadata"
    if "metadata" not in after:
        raise _Unusable(_INVALID, f"{where}: missing metadata in converted object")
    if not isinstance(metadata, dict):
        raise _Unusable(_INVALID, f"{where}: invalid metadata of type {_go_type(metadata)} in converted object")
    after["metadata"] = {**own, **_texts(own, metadata, where)}
    for key in ("labels", "annotations"):
        if metadata.get(key) is None:
            after["metadata"].pop(key, None)
    return after


def _texts(before: Mapping[str, Any], after: Mapping[str, Any], where: str) -> Object:
    """The labels and annotations of a converted object, valid where they have changed."""
    found: Object = {}
    for key in ("labels", "annotations"):
        texts = after.get(key)
        if texts is None:
            continue
        if not isinstance(texts, dict):
            raise _Unusable(_INVALID, f"{where}: invalid metadata.{key} of type {_go_type(texts)} in converted object")
        for name, text in texts.items():
            if not isinstance(text, str):
                why = f"metadata.{key}[{name}] must be a string, but is {_go_type(text)} in converted object"
                raise _Unusable(_INVALID, f"{where}: {why}")
        if texts != (before.get(key) or {}):
            faults: list[FieldError] = []
            if key == "labels":
                check_labels(texts, Path("metadata.labels"), faults)
            else:
                check_annotations(texts, Path("metadata.annotation"), faults)
            if faults:
                told = ", ".join(map(str, faults))
                raise _Unusable(_INVALID, f"{where}: {told if len(faults) == 1 else f'[{told}]'}")
        found[key] = texts
    return found


def _go_type(value: Any) -> str:
    """How messages name the type of a value."""
    if isinstance(value, bool):
        return "bool"
    names = {str: "string", int: "int64", float: "float64", list: "[]interface {}", dict: "map[string]interface {}"}
    return names.get(type(value), "<nil>")
