"""The control loop of Deployments: claims ReplicaSets, asks `plan` and writes what it says."""

from __future__ import annotations

from pilothouse.api import meta, selector, status
from pilothouse.api.gvr import DEPLOYMENTS, PODS, REPLICA_SETS
from pilothouse.api.meta import Object
from pilothouse.api.views.deployment import DeploymentView
from pilothouse.api.views.pod import PodView
from pilothouse.api.views.replica_set import ReplicaSetView
from pilothouse.client.events import NORMAL, WARNING
from pilothouse.controllers import pods
from pilothouse.controllers.deployment import progress
from pilothouse.controllers.deployment.plan import Actions, plan
from pilothouse.controllers.deployment.revision import fingerprint
from pilothouse.controllers.runtime import Context, Controller
from pilothouse.kit.log import get_logger

log = get_logger("pilothouse.controllers.deployment")


class DeploymentController(Controller):
    """The control loop of Deployments."""

    name = "deployment-controller"
    account = "deployment-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._events = context.recorder(self.name)
        self._deployments = context.informers.of(DEPLOYMENTS)
        self._replica_sets = pods.index_by_controller(context.informers.of(REPLICA_SETS))
        self._pods = pods.index_by_controller(context.informers.of(PODS))
        self.follow(self._deployments, self.enqueue)
        self.follow(self._replica_sets, self._replica_set_changed)
        self.follow(self._pods, self._pod_changed)

    async def reconcile(self, key: str) -> float | None:
        deployment = self._deployments.get(key)
        if deployment is None:
            return None
        view = DeploymentView(deployment)
        if not view.selector:
            await self._refuse(deployment)
            return None
        candidates = pods.candidates(self._replica_sets, deployment)
        claimed = pods.claim(deployment, selector.from_object(view.selector), candidates)
        replica_sets = await pods.settle_claim(self.client, deployment, DEPLOYMENTS, claimed, REPLICA_SETS)

        def old_pods_remain(new: Object | None) -> bool:
            return any(
                not PodView(pod).is_terminal
                for one in replica_sets
                if new is None or meta.uid_of(one) != meta.uid_of(new)
                for pod in self._pods.by_index(pods.BY_CONTROLLER, meta.uid_of(one))
            )

        actions = plan(deployment, replica_sets, old_pods_remain, self.clock.now())
        await self._act(deployment, actions)
        return actions.again_s

    async def _act(self, deployment: Object, actions: Actions) -> None:
        if actions.create is not None and not await self._create(deployment, actions.create):
            return
        for update in actions.update:
            await self.client.update(REPLICA_SETS, update.replica_set)
            if update.message:
                self._events.event(deployment, DEPLOYMENTS, NORMAL, "ScalingReplicaSet", update.message)
        for replica_set in actions.delete:
            try:
                await self.client.delete(REPLICA_SETS, meta.namespace_of(replica_set), meta.name_of(replica_set))
            except status.NotFound:
                log.debug("already deleted", replica_set=meta.key_of(replica_set))
        await self._write_status(deployment, actions.status, dict(actions.annotations))

    async def _create(self, deployment: Object, replica_set: Object) -> bool:
        """Create the new ReplicaSet; False if its name is taken by something else and another will be tried."""
        name, replicas = meta.name_of(replica_set), ReplicaSetView(replica_set).replicas
        try:
            await self.client.create(REPLICA_SETS, replica_set)
        except status.AlreadyExists:
            namespace = meta.namespace_of(deployment)
            taken = await self.client.get(REPLICA_SETS, namespace, name)
            template = DeploymentView(deployment).template
            if meta.is_controlled_by(taken, deployment) and fingerprint(ReplicaSetView(taken).template) == fingerprint(
                template
            ):
                return True
            collisions = (DeploymentView(deployment).collision_count or 0) + 1
            log.info("pod template hash is taken", deployment=meta.key_of(deployment), collisions=collisions)
            await self._write_status(deployment, {**(deployment.get("status") or {}), "collisionCount": collisions})
            return False
        except status.StatusError as error:
            if not pods.is_namespace_terminating(error):
                await self._report_failure(deployment, name, error)
            raise
        if replicas:
            message = f"Scaled up replica set {name} from 0 to {replicas}"
            self._events.event(deployment, DEPLOYMENTS, NORMAL, "ScalingReplicaSet", message)
        return True

    async def _report_failure(self, deployment: Object, name: str, error: status.StatusError) -> None:
        view = DeploymentView(deployment)
        message = f'Failed to create new replica set "{name}": {error.message}'
        self._events.event(deployment, DEPLOYMENTS, WARNING, progress.CREATE_FAILED, message)
        if view.progress_deadline_s is None:
            return
        conditions = progress.set_condition(
            view.conditions, progress.PROGRESSING, "False", progress.CREATE_FAILED, message, self.clock.now()
        )
        try:
            await self._write_status(deployment, {**view.status, "conditions": conditions})
        except status.StatusError as second:
            # The failure to create is what the caller must hear of.
            log.debug("status not written", deployment=view.key, reason=second.message)

    async def _refuse(self, deployment: Object) -> None:
        message = "This deployment is selecting all pods. A non-empty selector is required."
        self._events.event(deployment, DEPLOYMENTS, WARNING, "SelectingAll", message)
        view = DeploymentView(deployment)
        await self._write_status(deployment, {**view.status, "observedGeneration": view.generation})

    async def _write_status(
        self, deployment: Object, new_status: Object, annotations: dict[str, str] | None = None
    ) -> None:
        """Write the status, and the annotations where given, if they differ."""
        metadata = deployment["metadata"]
        if annotations is not None and annotations != (metadata.get("annotations") or {}):
            metadata = {**metadata, "annotations": annotations}
        if metadata is deployment["metadata"] and new_status == (deployment.get("status") or {}):
            return
        await self.client.update_status(DEPLOYMENTS, {**deployment, "metadata": metadata, "status": new_status})

    # Hearing

    def _replica_set_changed(self, old: Object | None, new: Object | None) -> None:
        owner = self._owner_of(new) if new is not None else None
        former = self._owner_of(old) if old is not None else None
        for deployment in (owner, former):
            if deployment is not None:
                self.queue.add(meta.key_of(deployment))
        if new is not None and meta.controller_of(new) is None and not meta.is_deleting(new):
            labels_changed = old is None or old["metadata"].get("labels") != new["metadata"].get("labels")
            if labels_changed or former is not None:
                self._orphan_changed(new)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """Recreate waits for the last old pod; nothing else here depends on pods."""
        pod = new if new is not None else old
        if pod is None or (new is not None and not PodView(new).is_terminal):
            return
        controller = meta.controller_of(pod)
        if controller is None or controller["kind"] != REPLICA_SETS.kind:
            return
        replica_set = self._replica_sets.get(meta.join_key(meta.namespace_of(pod), controller["name"]))
        deployment = self._owner_of(replica_set) if replica_set is not None else None
        if deployment is not None and not DeploymentView(deployment).is_rolling:
            self.queue.add(meta.key_of(deployment))

    def _owner_of(self, replica_set: Object) -> Object | None:
        controller = meta.controller_of(replica_set)
        if controller is None or controller["kind"] != DEPLOYMENTS.kind:
            return None
        deployment = self._deployments.get(meta.join_key(meta.namespace_of(replica_set), controller["name"]))
        return deployment if deployment is not None and meta.uid_of(deployment) == controller["uid"] else None

    def _orphan_changed(self, replica_set: Object) -> None:
        namespace, labels = meta.namespace_of(replica_set), meta.labels_of(replica_set)
        for deployment in self._deployments.list():
            view = DeploymentView(deployment)
            if view.namespace == namespace and view.selector and selector.from_object(view.selector).matches(labels):
                self.queue.add(view.key)
