"""The identity of every built-in kind: group, version, plural, kind, scope.

Identities are plain values so that a component that only talks to the API needs nothing else of a kind. What a kind does is
declared in `api/kinds`. A kind served in several versions has one identity a version.
"""

from __future__ import annotations

from typing import NamedTuple


class GVR(NamedTuple):
    """A resource as it is addressed on the wire."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`v1` or `apps/v1`: the value of an object's `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """`pods` or `deployments.apps`: how messages and RBAC name the resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, an object or its subresource. `namespace` is left out for cluster-scoped kinds."""
        parts = [f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


BINDINGS = GVR("", "v1", "bindings", "Binding")
COMPONENT_STATUSES = GVR("", "v1", "componentstatuses", "ComponentStatus", False)
CONFIG_MAPS = GVR("", "v1", "configmaps", "ConfigMap")
ENDPOINTS = GVR("", "v1", "endpoints", "Endpoints")
CORE_EVENTS = GVR("", "v1", "events", "Event")
LIMIT_RANGES = GVR("", "v1", "limitranges", "LimitRange")
NAMESPACES = GVR("", "v1", "namespaces", "Namespace", False)
NODES = GVR("", "v1", "nodes", "Node", False)
PERSISTENT_VOLUME_CLAIMS = GVR("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
PERSISTENT_VOLUMES = GVR("", "v1", "persistentvolumes", "PersistentVolume", False)
PODS = GVR("", "v1", "pods", "Pod")
POD_TEMPLATES = GVR("", "v1", "podtemplates", "PodTemplate")
REPLICATION_CONTROLLERS = GVR("", "v1", "replicationcontrollers", "ReplicationController")
RESOURCE_QUOTAS = GVR("", "v1", "resourcequotas", "ResourceQuota")
SECRETS = GVR("", "v1", "secrets", "Secret")
SERVICE_ACCOUNTS = GVR("", "v1", "serviceaccounts", "ServiceAccount")
SERVICES = GVR("", "v1", "services", "Service")

CONTROLLER_REVISIONS = GVR("apps", "v1", "controllerrevisions", "ControllerRevision")
DAEMON_SETS = GVR("apps", "v1", "daemonsets", "DaemonSet")
DEPLOYMENTS = GVR("apps", "v1", "deployments", "Deployment")
REPLICA_SETS = GVR("apps", "v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = GVR("apps", "v1", "statefulsets", "StatefulSet")

CRON_JOBS = GVR("batch", "v1", "cronjobs", "CronJob")
JOBS = GVR("batch", "v1", "jobs", "Job")

HORIZONTAL_POD_AUTOSCALERS_V1 = GVR("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
HORIZONTAL_POD_AUTOSCALERS = GVR("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")

INGRESS_CLASSES = GVR("networking.k8s.io", "v1", "ingressclasses", "IngressClass", False)
INGRESSES = GVR("networking.k8s.io", "v1", "ingresses", "Ingress")
IP_ADDRESSES = GVR("networking.k8s.io", "v1", "ipaddresses", "IPAddress", False)
NETWORK_POLICIES = GVR("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
SERVICE_CIDRS = GVR("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", False)

POD_DISRUPTION_BUDGETS = GVR("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")

CLUSTER_ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False)
CLUSTER_ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False)
ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
ROLES = GVR("rbac.authorization.k8s.io", "v1", "roles", "Role")

CSI_DRIVERS = GVR("storage.k8s.io", "v1", "csidrivers", "CSIDriver", False)
CSI_NODES = GVR("storage.k8s.io", "v1", "csinodes", "CSINode", False)
CSI_STORAGE_CAPACITIES = GVR("storage.k8s.io", "v1", "csistoragecapacities", "CSIStorageCapacity")
STORAGE_CLASSES = GVR("storage.k8s.io", "v1", "storageclasses", "StorageClass", False)
VOLUME_ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", False)
VOLUME_ATTRIBUTES_CLASSES = GVR("storage.k8s.io", "v1", "volumeattributesclasses", "VolumeAttributesClass", False)

PRIORITY_CLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False)

LEASES = GVR("coordination.k8s.io", "v1", "leases", "Lease")

ENDPOINT_SLICES = GVR("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")

EVENTS = GVR("events.k8s.io", "v1", "events", "Event")

CERTIFICATE_SIGNING_REQUESTS = GVR(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", False
)

MUTATING_ADMISSION_POLICIES = GVR(
    "admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", False
)
MUTATING_ADMISSION_POLICY_BINDINGS = GVR(
    "admissionregistration.k8s.io", "v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", False
)
MUTATING_WEBHOOK_CONFIGURATIONS = GVR(
    "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False
)
VALIDATING_ADMISSION_POLICIES = GVR(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False
)
VALIDATING_ADMISSION_POLICY_BINDINGS = GVR(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False
)
VALIDATING_WEBHOOK_CONFIGURATIONS = GVR(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False
)

CUSTOM_RESOURCE_DEFINITIONS = GVR(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False
)

API_SERVICES = GVR("apiregistration.k8s.io", "v1", "apiservices", "APIService", False)

RUNTIME_CLASSES = GVR("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", False)

DEVICE_CLASSES = GVR("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", False)
RESOURCE_CLAIM_TEMPLATES = GVR("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
RESOURCE_CLAIMS = GVR("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim")
RESOURCE_SLICES = GVR("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", False)

FLOW_SCHEMAS = GVR("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "FlowSchema", False)
PRIORITY_LEVEL_CONFIGURATIONS = GVR(
    "flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", False
)

SELF_SUBJECT_REVIEWS = GVR("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", False)
TOKEN_REVIEWS = GVR("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False)

LOCAL_SUBJECT_ACCESS_REVIEWS = GVR(
    "authorization.k8s.io", "v1", "localsubjectaccessreviews", "LocalSubjectAccessReview"
)
SELF_SUBJECT_ACCESS_REVIEWS = GVR(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False
)
SELF_SUBJECT_RULES_REVIEWS = GVR(
    "authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", False
)
SUBJECT_ACCESS_REVIEWS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False)
