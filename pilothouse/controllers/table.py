"""All controllers, in the order in which they are started. Names are upstream's, as `--controllers` takes them.

The garbage collector comes last: it shares the informers of all before it.
"""

from __future__ import annotations

from pilothouse.controllers.certificates.controllers import (
    SigningRequestApprover,
    SigningRequestCleaner,
    SigningRequestSigner,
)
from pilothouse.controllers.cluster_role import ClusterRoleAggregationController
from pilothouse.controllers.deployment.controller import DeploymentController
from pilothouse.controllers.endpoints.controllers import (
    EndpointsController,
    EndpointSliceController,
    EndpointSliceMirroringController,
)
from pilothouse.controllers.garbage.controller import GarbageCollector
from pilothouse.controllers.job.controller import JobController
from pilothouse.controllers.job.ttl import TTLAfterFinishedController
from pilothouse.controllers.namespace import NamespaceController
from pilothouse.controllers.node_ipam import NodeIPAMController
from pilothouse.controllers.node_lifecycle import NodeLifecycleController
from pilothouse.controllers.pod_gc import PodGarbageCollector
from pilothouse.controllers.policy_status import PolicyStatusController
from pilothouse.controllers.replicaset import ReplicaSetController, ReplicationControllerController
from pilothouse.controllers.resource_quota import ResourceQuotaController
from pilothouse.controllers.root_ca import RootCAPublisher
from pilothouse.controllers.runtime import Declaration
from pilothouse.controllers.service_account import ServiceAccountController
from pilothouse.controllers.storage_protection import (
    ClaimProtection,
    VolumeAttributesClassProtection,
    VolumeProtection,
)
from pilothouse.controllers.taint_eviction import TaintEvictionController

CONTROLLERS: tuple[Declaration, ...] = tuple(
    Declaration(controller.name, controller)
    for controller in (
        ServiceAccountController,
        RootCAPublisher,
        NodeIPAMController,
        NodeLifecycleController,
        TaintEvictionController,
        EndpointsController,
        EndpointSliceController,
        EndpointSliceMirroringController,
        ReplicationControllerController,
        DeploymentController,
        ReplicaSetController,
        JobController,
        TTLAfterFinishedController,
        NamespaceController,
        ResourceQuotaController,
        PolicyStatusController,
        ClusterRoleAggregationController,
        SigningRequestApprover,
        SigningRequestSigner,
        SigningRequestCleaner,
        ClaimProtection,
        VolumeProtection,
        VolumeAttributesClassProtection,
        PodGarbageCollector,
        GarbageCollector,
    )
)
