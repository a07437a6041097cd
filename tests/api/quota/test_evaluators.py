import pytest

from pilothouse.api.quota.amounts import read, shown, written
from pilothouse.api.quota.evaluators import evaluator_of, resource_of, used_by


def pod(*resources, status=None, **spec):
    containers = [{"name": f"c{index}", "resources": each} for index, each in enumerate(resources)]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}, "status": status or {}}


def usage(resource, obj):
    return written(evaluator_of(resource).usage(obj, 0.0))


def test_a_pod_counts_with_all_it_asks_for():
    side = {
        "requests": {"cpu": "100m", "memory": "64Mi", "x.io/gpu": "1", "hugepages-2Mi": "2Mi"},
        "limits": {"cpu": "1"},
    }
    assert usage("pods", pod(side, side)) == {
        "count/pods": "1",
        "pods": "1",
        "cpu": "200m",
        "requests.cpu": "200m",
        "limits.cpu": "2",
        "memory": "128Mi",
        "requests.memory": "128Mi",
        "requests.x.io/gpu": "2",
        "hugepages-2Mi": "4Mi",
        "requests.hugepages-2Mi": "4Mi",
    }


def test_init_containers_overhead_and_the_pod_itself():
    peak = {"initContainers": [{"name": "i", "resources": {"requests": {"cpu": "3"}}}], "overhead": {"cpu": "1"}}
    assert usage("pods", pod({"requests": {"cpu": "2"}}, **peak))["cpu"] == "4"
    assert usage("pods", pod({"requests": {"cpu": "2"}}, resources={"requests": {"cpu": "9"}}))["requests.cpu"] == "9"


def test_a_pod_that_ended_only_counts():
    assert usage("pods", pod({"requests": {"cpu": "2"}}, status={"phase": "Failed"})) == {"count/pods": "1"}


def test_a_pod_that_shrinks_counts_with_what_it_still_has():
    status = {"containerStatuses": [{"name": "c0", "resources": {"requests": {"cpu": "3"}}}]}
    assert usage("pods", pod({"requests": {"cpu": "2"}}, status=status))["cpu"] == "3"


@pytest.mark.parametrize(
    ("spec", "used"),
    [
        ({"type": "ClusterIP", "ports": [{}]}, "0 0"),
        ({"type": "NodePort", "ports": [{}, {}]}, "2 0"),
        ({"type": "LoadBalancer", "ports": [{}, {}]}, "2 1"),
        ({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": [{"nodePort": 1}, {}]}, "1 1"),
    ],
)
def test_services(spec, used):
    found = usage("services", {"spec": spec})
    assert f"{found['services.nodeports']} {found['services.loadbalancers']}" == used


def test_claims_count_by_class():
    claim = {"metadata": {}, "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "5Gi"}}}}
    assert usage("persistentvolumeclaims", claim) == {
        "count/persistentvolumeclaims": "1",
        "persistentvolumeclaims": "1",
        "requests.storage": "5Gi",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
        "gold.storageclass.storage.k8s.io/requests.storage": "5Gi",
    }


def test_devices_count_by_class():
    choices = [{"deviceClassName": "a", "count": 2}, {"deviceClassName": "a", "allocationMode": "All"}]
    claim = {"spec": {"devices": {"requests": [{"exactly": {"deviceClassName": "a"}}, {"firstAvailable": choices}]}}}
    assert usage("resourceclaims.resource.k8s.io", claim)["a.deviceclass.resource.k8s.io/devices"] == "33"


def test_what_must_be_given():
    pods = evaluator_of("pods")
    missing = pods.missing(pod({}, {"requests": {"cpu": "1"}}), {"cpu", "limits.memory", "pods"})
    assert missing == "must specify cpu for: c0; limits.memory for: c0,c1"
    assert not pods.missing(pod({}, resources={"requests": {"cpu": "1"}}), {"cpu"})


@pytest.mark.parametrize(
    ("requirement", "spec", "holds"),
    [
        ({"scopeName": "BestEffort"}, {}, True),
        ({"scopeName": "NotBestEffort"}, {}, False),
        ({"scopeName": "Terminating"}, {"activeDeadlineSeconds": 0}, True),
        ({"scopeName": "NotTerminating"}, {"activeDeadlineSeconds": 5}, False),
        ({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}, {"priorityClassName": "high"}, True),
        ({"scopeName": "PriorityClass", "operator": "NotIn", "values": ["high"]}, {}, True),
        ({"scopeName": "PriorityClass", "operator": "Exists"}, {}, False),
        ({"scopeName": "PriorityClass", "operator": "DoesNotExist"}, {}, True),
        (
            {"scopeName": "CrossNamespacePodAffinity"},
            {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["x"]}]}}},
            True,
        ),
    ],
)
def test_scopes(requirement, spec, holds):
    assert evaluator_of("pods").is_in_scope({"operator": "Exists", **requirement}, pod({}, **spec)) is holds


def test_which_kind_uses_a_resource():
    names = (
        "pods",
        "requests.cpu",
        "requests.x.io/gpu",
        "services.nodeports",
        "requests.storage",
        "count/a.b",
        "secrets",
        "x",
    )
    assert [resource_of(name) for name in names] == [
        *("pods", "pods", "pods", "services", "persistentvolumeclaims", "a.b", "secrets", ""),
    ]
    assert evaluator_of("events") is None


def test_only_what_is_in_scope_is_counted():
    quota = {"spec": {"scopes": ["BestEffort"]}}
    used = used_by(quota, evaluator_of("pods"), ["pods", "secrets"], [pod({}), pod({"limits": {"cpu": "1"}})], 0.0)
    assert shown(used) == "pods=1"


def test_amounts_are_canonical():
    assert written(read({"memory": "1024Mi", "cpu": 0.5})) == {"cpu": "500m", "memory": "1Gi"}
