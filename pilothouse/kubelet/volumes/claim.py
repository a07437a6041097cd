"""Volumes behind a PersistentVolumeClaim: what the bound PersistentVolume is on this node."""

from __future__ import annotations

from pathlib import Path

from pilothouse.api.gvr import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from pilothouse.api.view import View
from pilothouse.api.views.pod import PodView
from pilothouse.client.client import Client
from pilothouse.kubelet.seams import NotMounted
from pilothouse.kubelet.volumes import host_path


async def set_up(client: Client, pod: PodView, claim_name: str) -> Path:
    """The path of the volume on this node. Raises NotMounted, StatusError."""
    claim = View(await client.get(PERSISTENT_VOLUME_CLAIMS, pod.namespace, claim_name))
    volume_name = claim.spec.get("volumeName")
    if claim.status.get("phase") != "Bound" or not volume_name:
        raise NotMounted(f"persistentvolumeclaim {claim_name} is not bound")
    volume = View(await client.get(PERSISTENT_VOLUMES, "", str(volume_name)))
    reference = volume.spec.get("claimRef") or {}
    if reference.get("uid") not in (None, claim.uid):
        raise NotMounted(f"persistentvolume {volume_name} is bound to another claim than {claim_name}")
    if (source := volume.spec.get("hostPath")) is not None:
        return host_path.set_up(source)
    if (source := volume.spec.get("local")) is not None:
        path = Path(source["path"])
        if not path.exists():
            raise NotMounted(f'path "{path}" does not exist')
        return path
    kinds = {"accessModes", "capacity", "claimRef", "nodeAffinity", "persistentVolumeReclaimPolicy", "volumeMode"}
    found = ", ".join(sorted(set(volume.spec) - kinds - {"storageClassName", "mountOptions"})) or "no source"
    raise NotMounted(f"persistentvolume {volume_name} is of a type that this kubelet does not mount: {found}")
