"""What the server clears and derives for kinds other than Pods and Services."""

from __future__ import annotations

from pilothouse.api.kinds.apps.daemon_set import DAEMON_SET
from pilothouse.api.kinds.apps.deployment import DEPLOYMENT
from pilothouse.api.kinds.batch.job import JOB
from pilothouse.api.kinds.certificates.certificate_signing_request import CERTIFICATE_SIGNING_REQUEST
from pilothouse.api.kinds.core.namespace import NAMESPACE
from pilothouse.api.kinds.core.persistent_volume_claim import PERSISTENT_VOLUME_CLAIM
from pilothouse.api.meta import Object

GENERATION = "deprecated.daemonset.template.generation"


def test_a_client_cannot_say_what_the_status_is() -> None:
    draft: Object = {"metadata": {"name": "a"}, "spec": {}, "status": {"replicas": 3}}
    DEPLOYMENT.prepare_create(draft)
    assert draft["status"] == {}


def test_a_namespace_has_its_finalizer_and_its_name_as_a_label() -> None:
    draft: Object = {"metadata": {"name": "a", "labels": {"x": "y"}}, "status": {"phase": "Terminating"}}
    NAMESPACE.prepare_create(draft)
    assert draft["metadata"]["labels"] == {"x": "y", "kubernetes.io/metadata.name": "a"}
    assert draft["spec"] == {"finalizers": ["kubernetes"]}
    assert draft["status"] == {"phase": "Active"}
    changed: Object = {"metadata": {"name": "a"}, "spec": {"finalizers": []}}
    NAMESPACE.prepare_update(changed, draft)
    assert changed["spec"]["finalizers"] == ["kubernetes"]


def test_a_job_selects_its_own_pods() -> None:
    draft: Object = {"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}
    JOB.prepare_create(draft)
    assert draft["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert draft["spec"]["template"]["metadata"]["labels"] == {
        "a": "b",
        "job-name": "j",
        "batch.kubernetes.io/job-name": "j",
        "controller-uid": "u",
        "batch.kubernetes.io/controller-uid": "u",
    }


def test_a_job_with_a_manual_selector_is_left_alone() -> None:
    draft: Object = {"metadata": {"name": "j", "uid": "u"}, "spec": {"manualSelector": True, "template": {}}}
    JOB.prepare_create(draft)
    assert "selector" not in draft["spec"]


def test_the_template_generation_counts_changes_of_the_template_alone() -> None:
    draft: Object = {"metadata": {"name": "d"}, "spec": {"template": {"a": 1}}}
    DAEMON_SET.prepare_create(draft)
    assert draft["metadata"]["annotations"] == {GENERATION: "1"}
    same: Object = {"metadata": {"name": "d"}, "spec": {"template": {"a": 1}, "minReadySeconds": 5}}
    DAEMON_SET.prepare_update(same, draft)
    assert same["metadata"]["annotations"] == {GENERATION: "1"}
    changed: Object = {"metadata": {"name": "d"}, "spec": {"template": {"a": 2}}}
    DAEMON_SET.prepare_update(changed, draft)
    assert changed["metadata"]["annotations"] == {GENERATION: "2"}


def test_data_sources_of_a_claim_agree() -> None:
    snapshot = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}
    draft: Object = {"metadata": {"name": "c"}, "spec": {"dataSource": snapshot}}
    PERSISTENT_VOLUME_CLAIM.prepare_create(draft)
    assert draft["spec"]["dataSourceRef"] == snapshot
    other: Object = {"metadata": {"name": "c"}, "spec": {"dataSource": {"kind": "Custom", "name": "x"}}}
    PERSISTENT_VOLUME_CLAIM.prepare_create(other)
    assert other["spec"] == {}


def test_a_signing_request_is_decided_through_approval_alone() -> None:
    old: Object = {"metadata": {"name": "c"}, "spec": {"request": "r"}, "status": {}}
    draft: Object = {
        "metadata": {"name": "c"},
        "spec": {"request": "x"},
        "status": {"conditions": [{"type": "Approved"}]},
    }
    CERTIFICATE_SIGNING_REQUEST.prepare_status_update(draft, old)
    faults = CERTIFICATE_SIGNING_REQUEST.validate_status_update(draft, old)
    assert 'updates may not add a condition of type "Approved"' in [fault.detail for fault in faults]
    approved = {**old, "status": {"conditions": [{"type": "Approved", "reason": "R"}]}}
    CERTIFICATE_SIGNING_REQUEST.prepare_status_update(draft, approved)
    assert draft["status"] == approved["status"]
    CERTIFICATE_SIGNING_REQUEST.prepare_update(draft, old)
    assert draft["spec"] == {"request": "r"}
