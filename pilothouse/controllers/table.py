"""All controllers, in the order in which they are started. Names are upstream's, as `--controllers` takes them."""

from __future__ import annotations

from pilothouse.controllers.deployment.controller import DeploymentController
from pilothouse.controllers.endpoints.controllers import EndpointsController, EndpointSliceController
from pilothouse.controllers.replicaset import ReplicaSetController, ReplicationControllerController
from pilothouse.controllers.runtime import Declaration

CONTROLLERS: tuple[Declaration, ...] = tuple(
    Declaration(controller.name, controller)
    for controller in (
        EndpointsController,
        EndpointSliceController,
        ReplicationControllerController,
        DeploymentController,
        ReplicaSetController,
    )
)
