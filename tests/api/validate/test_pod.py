from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.validate.pod import validate_pod
from pilothouse.api.validate.pod_resize import validate_pod_resize
from pilothouse.api.validate.pod_status import validate_pod_status_update
from pilothouse.api.validate.pod_update import (
    validate_changed_pod,
    validate_ephemeral_containers_update,
    validate_pod_update,
)
from tests.api.validate.loaded import DELETED, changed, loaded, texts

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "serviceAccountName": "default",
        "containers": [
            {
                "name": "web",
                "image": "nginx",
                "ports": [{"name": "http", "containerPort": 80}],
                "env": [{"name": "A", "value": "b"}],
                "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "emptyDir": {}}],
    },
}
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
FIRST = "spec.containers.0"
SHOWN = "spec.containers[0]"
HTTP = {"httpGet": {"path": "/", "port": 80}}

FAULTS: list[tuple[str, Any, list[str]]] = [
    ("spec.containers", [], ["spec.containers: Required value"]),
    (f"{FIRST}.name", "Web", [f'{SHOWN}.name: Invalid value: "Web": {LABEL}']),
    (f"{FIRST}.name", "a.b", [f'{SHOWN}.name: Invalid value: "a.b": must not contain dots']),
    (f"{FIRST}.name", DELETED, [f"{SHOWN}.name: Required value"]),
    (f"{FIRST}.image", DELETED, [f"{SHOWN}.image: Required value"]),
    (f"{FIRST}.image", " nginx", [f'{SHOWN}.image: Invalid value: " nginx": must not have leading or trailing whitespace']),
    (f"{FIRST}.imagePullPolicy", "Sometimes",
     [f'{SHOWN}.imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"']),
    (f"{FIRST}.ports.0.containerPort", 70000,
     [f"{SHOWN}.ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"]),
    (f"{FIRST}.ports.0.name", "http--x",
     [f'{SHOWN}.ports[0].name: Invalid value: "http--x": must not contain consecutive hyphens']),
    (f"{FIRST}.ports.0.protocol", "tcp",
     [f'{SHOWN}.ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"']),
    (f"{FIRST}.ports.1", {"name": "http", "containerPort": 81}, [f'{SHOWN}.ports[1].name: Duplicate value: "http"']),
    (f"{FIRST}.env.0.name", "A=B",
     [f'{SHOWN}.env[0].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII '
      "characters other than '='"]),
    (f"{FIRST}.env.0.valueFrom", {"secretKeyRef": {"name": "s", "key": "k"}},
     [f'{SHOWN}.env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty']),
    (f"{FIRST}.env.1", {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.hostname"}}},
     [f'{SHOWN}.env[1].valueFrom.fieldRef.fieldPath: Invalid value: "spec.hostname": error converting fieldPath: field label not '
      "supported: spec.hostname"]),
    (f"{FIRST}.env.1", {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}},
     [f'{SHOWN}.env[1].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": supported values: "metadata.name", '
      '"metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", '
      '"status.podIP", "status.podIPs"']),
    (f"{FIRST}.resources.requests.memory", "128Mi",
     [f'{SHOWN}.resources.requests: Invalid value: "128Mi": must be less than or equal to memory limit of 64Mi']),
    (f"{FIRST}.resources.requests.cpu", "-1",
     [f'{SHOWN}.resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0']),
    (f"{FIRST}.resources.requests", {"gpu": "1"},
     [f'{SHOWN}.resources.requests[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified',
      f'{SHOWN}.resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers']),
    (f"{FIRST}.resources", {"requests": {"example.com/gpu": "1"}},
     [f"{SHOWN}.resources.limits: Required value: Limit must be set for non overcommitable resources"]),
    (f"{FIRST}.resources", {"limits": {"example.com/gpu": "500m"}, "requests": {"example.com/gpu": "500m"}},
     [f'{SHOWN}.resources.limits[example.com/gpu]: Invalid value: "500m": must be an integer',
      f'{SHOWN}.resources.requests[example.com/gpu]: Invalid value: "500m": must be an integer']),
    (f"{FIRST}.resources", {"limits": {"hugepages-2Mi": "3Mi"}},
     [f'{SHOWN}.resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi',
      f'{SHOWN}.resources.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi',
      f"{SHOWN}.resources: Forbidden: HugePages require cpu or memory"]),
    (f"{FIRST}.volumeMounts.0.name", "gone", [f'{SHOWN}.volumeMounts[0].name: Not found: "gone"']),
    (f"{FIRST}.volumeMounts.1", {"name": "data", "mountPath": "/data"},
     [f'{SHOWN}.volumeMounts[1].mountPath: Invalid value: "/data": must be unique']),
    (f"{FIRST}.volumeMounts.0.subPath", "../up",
     [f'{SHOWN}.volumeMounts.subPath: Invalid value: "../up": must not contain \'..\'']),
    (f"{FIRST}.volumeMounts.0.mountPropagation", "Bidirectional",
     [f"{SHOWN}.volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers"]),
    (f"{FIRST}.livenessProbe", {"httpGet": {"port": 80}, "exec": {"command": ["x"]}},
     [f"{SHOWN}.livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type"]),
    (f"{FIRST}.livenessProbe", {}, [f"{SHOWN}.livenessProbe: Required value: must specify a handler type"]),
    (f"{FIRST}.livenessProbe", {**HTTP, "successThreshold": 2},
     [f"{SHOWN}.livenessProbe.successThreshold: Invalid value: 2: must be 1"]),
    (f"{FIRST}.readinessProbe", {**HTTP, "terminationGracePeriodSeconds": 5},
     [f"{SHOWN}.readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes"]),
    (f"{FIRST}.lifecycle", {"preStop": {"sleep": {"seconds": 31}}},
     [f"{SHOWN}.lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"]),
    (f"{FIRST}.securityContext", {"runAsUser": -1},
     [f"{SHOWN}.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"]),
    (f"{FIRST}.securityContext", {"privileged": True, "allowPrivilegeEscalation": False},
     [f'{SHOWN}.securityContext: Invalid value: {{"Capabilities":null,"Privileged":true,"SELinuxOptions":null,"WindowsOptions":null,'
      '"RunAsUser":null,"RunAsGroup":null,"RunAsNonRoot":null,"ReadOnlyRootFilesystem":null,"AllowPrivilegeEscalation":false,'
      '"ProcMount":null,"SeccompProfile":null,"AppArmorProfile":null}: cannot set '
      "`allowPrivilegeEscalation` to false and `privileged` to true"]),
    (f"{FIRST}.restartPolicyRules", [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}],
     [f"{SHOWN}.restartPolicy: Required value: must specify restartPolicy when restart rules are used"]),
    ("spec.containers.1", {"name": "web", "image": "i"}, ['spec.containers[1].name: Duplicate value: "web"']),
    ("spec.initContainers", [{"name": "i", "image": "i", "livenessProbe": HTTP}],
     ["spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"]),
    ("spec.initContainers", [{"name": "i", "image": "i", "restartPolicy": "Ever"}],
     ['spec.initContainers[0].restartPolicy: Unsupported value: "Ever": supported values: "Always", "Never", "OnFailure"']),
    ("spec.ephemeralContainers", [{"name": "e", "image": "i"}], ["spec.ephemeralContainers: Forbidden: cannot be set on create"]),
    ("spec.volumes.0", {"name": "data"}, []),
    ("spec.volumes.0", {"name": "data", "emptyDir": {}, "hostPath": {"path": "/x"}},
     ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
      'spec.containers[0].volumeMounts[0].name: Not found: "data"']),
    ("spec.volumes.1", {"name": "data", "emptyDir": {}}, ['spec.volumes[1].name: Duplicate value: "data"']),
    ("spec.volumes.1", {"name": "c", "configMap": {"name": "c", "items": [{"key": "k", "path": "/abs"}]}},
     ['spec.volumes[1].configMap.items[0].path: Invalid value: "/abs": must be a relative path']),
    ("spec.volumes.1", {"name": "s", "secret": {"secretName": "s", "defaultMode": 512}},
     ["spec.volumes[1].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive"]),
    ("spec.volumes.1", {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 10}}]}},
     ["spec.volumes[1].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 10: may not specify a duration "
      "less than 10 minutes"]),
    ("spec.volumes.1", {"name": "i", "iscsi": {"targetPortal": "p", "iqn": "x", "lun": 1}},
     ['spec.volumes[1].iscsi.iqn: Invalid value: "x": must be valid format starting with iqn, eui, or naa']),
    ("spec.restartPolicy", "Maybe",
     ['spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"']),
    ("spec.dnsPolicy", "None", ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]),
    ("spec.dnsConfig", {"nameservers": ["1.2.3.04"]},
     ['spec.dnsConfig.nameservers[0]: Invalid value: "1.2.3.04": must not have leading 0s']),
    ("spec.nodeSelector", {"a b": "c"},
     ['spec.nodeSelector: Invalid value: "a b": name part must consist of alphanumeric characters, \'-\', \'_\' or \'.\', and must start '
      "and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
      "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"]),
    ("spec.activeDeadlineSeconds", 0,
     ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"]),
    ("spec.tolerations", [{"operator": "Exists", "value": "x"}],
     ["spec.tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'"]),
    ("spec.tolerations", [{"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 1}],
     ['spec.tolerations[0].effect: Invalid value: "NoSchedule": effect must be \'NoExecute\' when `tolerationSeconds` is set']),
    ("spec.affinity", {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
     ["spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at "
      "least one node selector term"]),
    ("spec.affinity", {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 101, "podAffinityTerm": {"topologyKey": "zone"}}]}},
     ["spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the "
      "range 1-100"]),
    ("spec.topologySpreadConstraints", [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
     ["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"]),
    ("spec.schedulingGates", [{"name": "a"}, {"name": "a"}], ['spec.schedulingGates[1]: Duplicate value: "a"']),
    ("spec.os", {"name": "plan9"}, ['spec.os: Unsupported value: "plan9": supported values: "linux", "windows"']),
    ("spec.securityContext", {"seccompProfile": {"type": "Localhost"}},
     ["spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"]),
    ("spec.hostname", "a.b", ['spec.hostname: Invalid value: "a.b": must not contain dots']),
    ("spec.resources", {"requests": {"cpu": "50m"}},
     ['spec.resources.requests[cpu]: Invalid value: "50m": must be greater than or equal to aggregate container requests of 100m']),
]  # fmt: skip


def test_a_good_pod_has_no_fault() -> None:
    assert texts(validate_pod(loaded(POD))) == []


@pytest.mark.parametrize(("path", "value", "faults"), FAULTS)
def test_faults(path: str, value: Any, faults: list[str]) -> None:
    assert texts(validate_pod(loaded(changed(POD, path, value)))) == faults


def stored(pod: dict[str, Any]) -> dict[str, Any]:
    return changed(loaded(pod), "metadata.resourceVersion", "1")


@pytest.mark.parametrize(
    ("path", "value", "faults"),
    [
        (f"{FIRST}.image", "nginx:2", []),
        ("spec.tolerations", [{"key": "a", "operator": "Exists"}], []),
        ("spec.activeDeadlineSeconds", 10, []),
        ("spec.containers.1", {"name": "b", "image": "i"},
         ["spec.containers: Forbidden: pod updates may not add or remove containers"]),
        (f"{FIRST}.image", "", [f"{SHOWN}.image: Required value"]),
        (
            "spec.nodeSelector", {"a": "b"},
            ["spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
             "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
             "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
             '+ nodeSelector: {"a": "b"}'],
        ),
        ("spec.schedulingGates", [{"name": "g"}],
         ["spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"]),
    ],
)  # fmt: skip
def test_updates(path: str, value: Any, faults: list[str]) -> None:
    old = stored(POD)
    assert texts(validate_pod_update(changed(old, path, value), old)) == faults


def test_what_an_update_leaves_alone_is_not_judged_again() -> None:
    """So that labels can be changed of a pod that was stored before a rule came."""
    old = changed(stored(POD), "spec.dnsPolicy", "Old")
    assert texts(validate_changed_pod(changed(old, "metadata.labels", {"a": "b"}), old)) == []
    cost = {"controller.kubernetes.io/pod-deletion-cost": "much"}
    assert texts(validate_changed_pod(changed(old, "metadata.annotations", cost), old)) == [
        'metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "much": must be a 32bit integer',
        'spec.dnsPolicy: Unsupported value: "Old": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"',
    ]


def test_what_was_given_may_not_be_taken() -> None:
    old = changed(
        changed(stored(POD), "spec.activeDeadlineSeconds", 10), "spec.tolerations", [{"key": "a", "operator": "Exists"}]
    )
    assert texts(validate_pod_update(changed(old, "spec.activeDeadlineSeconds", 11), old)) == [
        "spec.activeDeadlineSeconds: Invalid value: 11: must be less than or equal to previous value"
    ]
    assert texts(validate_pod_update(changed(old, "spec.tolerations", []), old)) == [
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    ]
    longer = [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]
    assert texts(validate_pod_update(changed(old, "spec.tolerations", longer), old)) != []


def test_a_gated_pod_can_be_placed_more_narrowly() -> None:
    old = stored(changed(changed(POD, "spec.schedulingGates", [{"name": "g"}]), "spec.nodeSelector", {"a": "b"}))
    assert texts(validate_pod_update(changed(old, "spec.nodeSelector", {"a": "b", "c": "d"}), old)) == []
    assert texts(validate_pod_update(changed(old, "spec.nodeSelector", {"c": "d"}), old)) == [
        'spec.nodeSelector: Invalid value: {"c":"d"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)'
    ]


def test_ephemeral_containers_can_only_be_added() -> None:
    old = stored(changed(POD, "spec.ephemeralContainers", [{"name": "e", "image": "i"}]))
    added = stored(changed(POD, "spec.ephemeralContainers", [{"name": "e", "image": "i"}, {"name": "f", "image": "i"}]))
    assert texts(validate_ephemeral_containers_update(added, old)) == []
    assert "may not be removed" in texts(validate_ephemeral_containers_update(stored(POD), old))[0]
    other = changed(old, "spec.ephemeralContainers.0.image", "j")
    assert "may not be changed" in texts(validate_ephemeral_containers_update(other, old))[0]


@pytest.mark.parametrize(
    ("path", "value", "faults"),
    [
        (f"{FIRST}.resources.requests.cpu", "200m", []),
        (f"{FIRST}.image", "other", ["spec: Forbidden: only cpu and memory resources are mutable"]),
        (f"{FIRST}.resources.limits", {}, [f"{SHOWN}.resources.limits: Forbidden: resource limits cannot be removed"]),
        (
            f"{FIRST}.name",
            "x",
            ["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"],
        ),
    ],
)
def test_resize(path: str, value: Any, faults: list[str]) -> None:
    old = stored(POD)
    assert texts(validate_pod_resize(changed(old, path, value), old)) == faults


def test_resize_keeps_the_quality_of_service() -> None:
    old = stored(changed(POD, f"{FIRST}.resources", {}))
    new = changed(old, f"{FIRST}.resources", {"requests": {"cpu": "1"}})
    assert "Pod QOS Class may not change as a result of resizing" in texts(validate_pod_resize(new, old))[0]


RUNNING = {"name": "web", "state": {"running": {}}}
ENDED = {"name": "web", "state": {"terminated": {"exitCode": 1}}}


@pytest.mark.parametrize(
    ("policy", "faults"),
    [
        ("Always", []),
        ("OnFailure", []),
        ("Never", ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]),
    ],
)
def test_an_ended_container_runs_again_only_if_it_may(policy: str, faults: list[str]) -> None:
    old = changed(stored(changed(POD, "spec.restartPolicy", policy)), "status.containerStatuses", [ENDED])
    assert texts(validate_pod_status_update(changed(old, "status.containerStatuses", [RUNNING]), old)) == faults


@pytest.mark.parametrize(
    ("status", "faults"),
    [
        ({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]},
         ['status.podIPs: Invalid value: [{"IP":"10.0.0.1"},{"IP":"10.0.0.2"}]: may specify no more than one IP for each IP family']),
        ({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}, []),
        ({"hostIPs": [{"ip": "10.0.0.1"}]}, ['status.hostIPs[0].ip: Invalid value: "10.0.0.1": must be equal to `hostIP`']),
        ({"conditions": [{"type": "Ready", "status": "True"}, {"type": "a/b/c", "status": "True"}]}, ["status.conditions[1].Type"]),
        ({"containerStatuses": [{"name": "c", "user": {"linux": {"uid": -1, "gid": 0}}}]},
         ["status.containerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive"]),
        ({"containerStatuses": [{"name": "web", "allocatedResourcesStatus": [
            {"name": "claim:x", "resources": [{"resourceID": "a", "health": "Ill"}, {"resourceID": "a", "health": "Healthy"}]}]}]},
         ["status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"claim:x\": must match one of the container's",
          'status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: "Ill"',
          'status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: "a"']),
        ({"ephemeralContainerStatuses": [{"name": "e", "allocatedResourcesStatus": [{"name": "a"}]}]},
         ["status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status"]),
        ({"extendedResourceClaimStatus": {"requestMappings": [{"containerName": "z", "resourceName": "a", "requestName": "r"}]}},
         ['status.extendedResourceClaimStatus.requestMappings[0].containerName: Invalid value: "z": must match the name of an entry in',
          "status.extendedResourceClaimStatus.resourceClaimName: Required value"]),
        ({"resourceClaimStatuses": [{"name": "x"}]},
         ['status.resourceClaimStatuses[0].name: Invalid value: "x": must match the name of an entry in `spec.resourceClaims`']),
        ({"qosClass": "Guaranteed"}, ['status.qosClass: Invalid value: "Guaranteed": field is immutable']),
    ],
)  # fmt: skip
def test_status(status: dict[str, Any], faults: list[str]) -> None:
    old = stored(POD)
    found = texts(validate_pod_status_update(changed(old, "status", status), old))
    assert len(found) == len(faults)
    assert all(text.startswith(fault) for text, fault in zip(found, faults, strict=True))
