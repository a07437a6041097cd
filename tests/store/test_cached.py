"""The resourceVersion is spliced into stored bytes, and labels are read without decoding the rest."""

from __future__ import annotations

import orjson
import pytest

from pilothouse.store.base import Revision
from pilothouse.store.cached import Cached, read, resplice, splice, unsplice

VALUE = b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web","labels":{"app":"web"}},"spec":{"metadata":{"labels":{"x":"y"}}}}'


def cached(value: bytes) -> Cached:
    return read("/registry/core/pods/default/web", "default", "web", value, Revision(7))


def test_a_value_without_metadata_is_refused() -> None:
    with pytest.raises(ValueError):
        splice(b'{"kind":"Pod","apiVersion":"v1"}', 1)


def test_splice_puts_the_resource_version_first_into_the_metadata() -> None:
    wire = splice(VALUE, 42)
    assert wire.startswith(b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"42","name":"web"')
    expected = orjson.loads(VALUE)
    expected["metadata"]["resourceVersion"] = "42"
    assert orjson.loads(wire) == expected


def test_unsplice_is_the_inverse() -> None:
    assert unsplice(splice(VALUE, 2**63 - 1)) == VALUE


def test_resplice_changes_only_the_version() -> None:
    assert resplice(splice(VALUE, 9), 123456) == splice(VALUE, 123456)


def test_labels_are_those_of_the_object_itself() -> None:
    assert cached(VALUE).labels == {"app": "web"}


@pytest.mark.parametrize("labels", [b"", b',"labels":{}', b',"labels":null'])
def test_no_labels(labels: bytes) -> None:
    template = b'"template":{"metadata":{"labels":{"a":"b"}}}'
    assert cached(b'{"kind":"K","apiVersion":"v1","metadata":{"name":"web"%b},%b}' % (labels, template)).labels == {}


def test_unreadable_labels_count_as_none() -> None:
    assert cached(b'{"kind":"K","apiVersion":"v1","metadata":{"name":"web","labels":{"a":1}}}').labels == {}


def test_cached() -> None:
    pod = cached(VALUE)
    assert (pod.resource_version, pod.value()) == ("7", VALUE)
    draft = pod.object()
    draft["metadata"]["name"] = "changed"
    assert pod.object()["metadata"] == {"resourceVersion": "7", "name": "web", "labels": {"app": "web"}}
    deleted = pod.at(Revision(9))
    assert (deleted.resource_version, deleted.object()["metadata"]["resourceVersion"]) == ("9", "9")
    assert deleted.labels is pod.labels
