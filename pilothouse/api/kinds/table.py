"""All built-in kinds, in the order of discovery.

The order of groups is that of their priority upstream; a client that finds a short name in several groups takes the first.
"""

from __future__ import annotations

from pilothouse.api.kinds.admissionregistration.mutating_admission_policy import MUTATING_ADMISSION_POLICY
from pilothouse.api.kinds.admissionregistration.mutating_admission_policy_binding import (
    MUTATING_ADMISSION_POLICY_BINDING,
)
from pilothouse.api.kinds.admissionregistration.mutating_webhook_configuration import MUTATING_WEBHOOK_CONFIGURATION
from pilothouse.api.kinds.admissionregistration.validating_admission_policy import VALIDATING_ADMISSION_POLICY
from pilothouse.api.kinds.admissionregistration.validating_admission_policy_binding import (
    VALIDATING_ADMISSION_POLICY_BINDING,
)
from pilothouse.api.kinds.admissionregistration.validating_webhook_configuration import VALIDATING_WEBHOOK_CONFIGURATION
from pilothouse.api.kinds.apiextensions.custom_resource_definition import CUSTOM_RESOURCE_DEFINITION
from pilothouse.api.kinds.apiregistration.api_service import API_SERVICE
from pilothouse.api.kinds.apps.controller_revision import CONTROLLER_REVISION
from pilothouse.api.kinds.apps.daemon_set import DAEMON_SET
from pilothouse.api.kinds.apps.deployment import DEPLOYMENT
from pilothouse.api.kinds.apps.replica_set import REPLICA_SET
from pilothouse.api.kinds.apps.stateful_set import STATEFUL_SET
from pilothouse.api.kinds.authentication.self_subject_review import SELF_SUBJECT_REVIEW
from pilothouse.api.kinds.authentication.token_review import TOKEN_REVIEW
from pilothouse.api.kinds.authorization.local_subject_access_review import LOCAL_SUBJECT_ACCESS_REVIEW
from pilothouse.api.kinds.authorization.self_subject_access_review import SELF_SUBJECT_ACCESS_REVIEW
from pilothouse.api.kinds.authorization.self_subject_rules_review import SELF_SUBJECT_RULES_REVIEW
from pilothouse.api.kinds.authorization.subject_access_review import SUBJECT_ACCESS_REVIEW
from pilothouse.api.kinds.autoscaling.horizontal_pod_autoscaler import HORIZONTAL_POD_AUTOSCALER
from pilothouse.api.kinds.batch.cron_job import CRON_JOB
from pilothouse.api.kinds.batch.job import JOB
from pilothouse.api.kinds.certificates.certificate_signing_request import CERTIFICATE_SIGNING_REQUEST
from pilothouse.api.kinds.coordination.lease import LEASE
from pilothouse.api.kinds.core.binding import BINDING
from pilothouse.api.kinds.core.component_status import COMPONENT_STATUS
from pilothouse.api.kinds.core.config_map import CONFIG_MAP
from pilothouse.api.kinds.core.endpoints import ENDPOINTS
from pilothouse.api.kinds.core.event import EVENT
from pilothouse.api.kinds.core.limit_range import LIMIT_RANGE
from pilothouse.api.kinds.core.namespace import NAMESPACE
from pilothouse.api.kinds.core.node import NODE
from pilothouse.api.kinds.core.persistent_volume import PERSISTENT_VOLUME
from pilothouse.api.kinds.core.persistent_volume_claim import PERSISTENT_VOLUME_CLAIM
from pilothouse.api.kinds.core.pod import POD
from pilothouse.api.kinds.core.pod_template import POD_TEMPLATE
from pilothouse.api.kinds.core.replication_controller import REPLICATION_CONTROLLER
from pilothouse.api.kinds.core.resource_quota import RESOURCE_QUOTA
from pilothouse.api.kinds.core.secret import SECRET
from pilothouse.api.kinds.core.service import SERVICE
from pilothouse.api.kinds.core.service_account import SERVICE_ACCOUNT
from pilothouse.api.kinds.discovery.endpoint_slice import ENDPOINT_SLICE
from pilothouse.api.kinds.flowcontrol.flow_schema import FLOW_SCHEMA
from pilothouse.api.kinds.flowcontrol.priority_level_configuration import PRIORITY_LEVEL_CONFIGURATION
from pilothouse.api.kinds.networking.ingress import INGRESS
from pilothouse.api.kinds.networking.ingress_class import INGRESS_CLASS
from pilothouse.api.kinds.networking.ip_address import IP_ADDRESS
from pilothouse.api.kinds.networking.network_policy import NETWORK_POLICY
from pilothouse.api.kinds.networking.service_cidr import SERVICE_CIDR
from pilothouse.api.kinds.node.runtime_class import RUNTIME_CLASS
from pilothouse.api.kinds.policy.pod_disruption_budget import POD_DISRUPTION_BUDGET
from pilothouse.api.kinds.rbac.cluster_role import CLUSTER_ROLE
from pilothouse.api.kinds.rbac.cluster_role_binding import CLUSTER_ROLE_BINDING
from pilothouse.api.kinds.rbac.role import ROLE
from pilothouse.api.kinds.rbac.role_binding import ROLE_BINDING
from pilothouse.api.kinds.resource.device_class import DEVICE_CLASS
from pilothouse.api.kinds.resource.resource_claim import RESOURCE_CLAIM
from pilothouse.api.kinds.resource.resource_claim_template import RESOURCE_CLAIM_TEMPLATE
from pilothouse.api.kinds.resource.resource_slice import RESOURCE_SLICE
from pilothouse.api.kinds.scheduling.priority_class import PRIORITY_CLASS
from pilothouse.api.kinds.storage.csi_driver import CSI_DRIVER
from pilothouse.api.kinds.storage.csi_node import CSI_NODE
from pilothouse.api.kinds.storage.csi_storage_capacity import CSI_STORAGE_CAPACITY
from pilothouse.api.kinds.storage.storage_class import STORAGE_CLASS
from pilothouse.api.kinds.storage.volume_attachment import VOLUME_ATTACHMENT
from pilothouse.api.kinds.storage.volume_attributes_class import VOLUME_ATTRIBUTES_CLASS
from pilothouse.api.resource import Resource

RESOURCES: tuple[Resource, ...] = (
    BINDING,
    COMPONENT_STATUS,
    CONFIG_MAP,
    ENDPOINTS,
    EVENT,
    LIMIT_RANGE,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME_CLAIM,
    PERSISTENT_VOLUME,
    POD,
    POD_TEMPLATE,
    REPLICATION_CONTROLLER,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE_ACCOUNT,
    SERVICE,
    API_SERVICE,
    CONTROLLER_REVISION,
    DAEMON_SET,
    DEPLOYMENT,
    REPLICA_SET,
    STATEFUL_SET,
    SELF_SUBJECT_REVIEW,
    TOKEN_REVIEW,
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
    HORIZONTAL_POD_AUTOSCALER,
    CRON_JOB,
    JOB,
    CERTIFICATE_SIGNING_REQUEST,
    INGRESS_CLASS,
    INGRESS,
    IP_ADDRESS,
    NETWORK_POLICY,
    SERVICE_CIDR,
    POD_DISRUPTION_BUDGET,
    CLUSTER_ROLE_BINDING,
    CLUSTER_ROLE,
    ROLE_BINDING,
    ROLE,
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    STORAGE_CLASS,
    VOLUME_ATTACHMENT,
    VOLUME_ATTRIBUTES_CLASS,
    MUTATING_ADMISSION_POLICY,
    MUTATING_ADMISSION_POLICY_BINDING,
    MUTATING_WEBHOOK_CONFIGURATION,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    VALIDATING_WEBHOOK_CONFIGURATION,
    CUSTOM_RESOURCE_DEFINITION,
    PRIORITY_CLASS,
    LEASE,
    RUNTIME_CLASS,
    ENDPOINT_SLICE,
    DEVICE_CLASS,
    RESOURCE_CLAIM,
    RESOURCE_CLAIM_TEMPLATE,
    RESOURCE_SLICE,
    FLOW_SCHEMA,
    PRIORITY_LEVEL_CONFIGURATION,
)

_BY_PATH = {
    (gvr.group, gvr.version, gvr.plural): resource
    for resource in RESOURCES
    for gvr in (resource.gvr, *resource.other_versions)
}
_BY_KIND = {
    (gvr.api_version, gvr.kind): resource for resource in RESOURCES for gvr in (resource.gvr, *resource.other_versions)
}


def by_path(group: str, version: str, plural: str) -> Resource | None:
    """The kind served at `/apis/GROUP/VERSION/PLURAL`, in any of its versions."""
    return _BY_PATH.get((group, version, plural))


def by_kind(api_version: str, kind: str) -> Resource | None:
    """The kind that objects with this `apiVersion` and `kind` belong to."""
    return _BY_KIND.get((api_version, kind))
