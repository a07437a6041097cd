"""Fields of features that are off go, unless the object had them."""

from __future__ import annotations

from typing import Any

from pilothouse.api.kinds.apps.stateful_set import STATEFUL_SET
from pilothouse.api.kinds.coordination.lease import LEASE
from pilothouse.api.kinds.core.node import NODE
from pilothouse.api.kinds.core.persistent_volume_claim import PERSISTENT_VOLUME_CLAIM
from pilothouse.api.kinds.core.pod import POD
from pilothouse.api.kinds.resource.resource_slice import RESOURCE_SLICE
from pilothouse.api.resource import Resource
from pilothouse.api.view import json_copy


def dropped(resource: Resource, obj: dict[str, Any], old: dict[str, Any] | None = None) -> dict[str, Any]:
    draft = json_copy({"metadata": {}, **obj})
    assert resource.drop_disabled is not None
    resource.drop_disabled(draft, old)
    del draft["metadata"]
    return draft


def pod(lifecycle: dict[str, Any], source: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "spec": {
            "containers": [{"name": "c", **({"lifecycle": lifecycle} if lifecycle else {})}],
            "volumes": [{"name": "v", "projected": {"sources": [source]}}],
            **spec,
        }
    }


def test_a_pod_loses_them() -> None:
    given = pod({"stopSignal": "SIGTERM"}, {"clusterTrustBundle": {"path": "p"}}, schedulingGroup={"podGroupName": "g"})
    assert dropped(POD, given) == pod({}, {})
    hook = {"preStop": {"sleep": {"seconds": 1}}}
    assert dropped(POD, pod({"stopSignal": "SIGTERM", **hook}, {})) == pod(hook, {})


def test_a_pod_that_has_them_keeps_them() -> None:
    given = pod({"stopSignal": "SIGTERM"}, {"podCertificate": {}}, schedulingGroup={"podGroupName": "g"})
    assert dropped(POD, given, given) == given
    assert dropped(POD, given, pod({}, {"podCertificate": {}})) == pod({}, {"podCertificate": {}})


def test_other_kinds() -> None:
    rolling = {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0, "maxUnavailable": 2}}, "template": {}}}
    assert dropped(STATEFUL_SET, rolling)["spec"]["updateStrategy"]["rollingUpdate"] == {"partition": 0}
    assert dropped(STATEFUL_SET, rolling, rolling) == rolling
    assert dropped(LEASE, {"spec": {"strategy": "OldestEmulationVersion", "holderIdentity": "h"}}) == {
        "spec": {"holderIdentity": "h"}
    }
    listed = {"spec": {"devices": [{"attributes": {"a": {"strings": ["x"]}}, "nodeAllocatableResourceMappings": {}}]}}
    assert dropped(RESOURCE_SLICE, listed) == {"spec": {"devices": [{"attributes": {"a": {}}}]}}
    assert dropped(RESOURCE_SLICE, listed, listed) == listed
    node = {"spec": {"configSource": {}}, "status": {"config": {"error": "x"}}}
    assert dropped(NODE, node) == {"spec": {}, "status": {}}
    assert dropped(NODE, {"status": {"config": {"error": "x"}}}, node) == {"status": {"config": {"error": "x"}}}
    reference = {"kind": "VolumeSnapshot", "name": "s"}
    claim = {"spec": {"dataSourceRef": {**reference, "namespace": "n"}}}
    assert dropped(PERSISTENT_VOLUME_CLAIM, claim) == {"spec": {}}
    assert dropped(PERSISTENT_VOLUME_CLAIM, claim, {"spec": {"dataSourceRef": reference}}) == claim
