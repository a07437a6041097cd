"""The volumes of this node's pods, as the kubelet's core asks for them.

What comes from the API is read again about every minute for as long as a pod runs. Everything lies in the pod's directory, under
upstream's names, so that it is found again, and undone, after the kubelet was started anew.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pilothouse.api.meta import UID, Object
from pilothouse.api.status import StatusError
from pilothouse.api.views.pod import PodView
from pilothouse.client.client import Client
from pilothouse.kit.clock import Clock, Timer
from pilothouse.kit.mounts import unmount_below
from pilothouse.kubelet.environment import expand
from pilothouse.kubelet.field_values import UnknownField, allocatable_of
from pilothouse.kubelet.options import KubeletOptions
from pilothouse.kubelet.runtime.specs import Device, Mount, Propagation
from pilothouse.kubelet.seams import ConfigError, ContainerObject, NotMounted
from pilothouse.kubelet.volumes import atomic, claim, empty_dir, host_path, sub_path
from pilothouse.kubelet.volumes.payload import DEFAULT_MODE, PayloadReader, PodFacts, downward
from pilothouse.kubelet.volumes.tokens import Tokens

REFRESH_S = 60.0
FROM_API = {
    "configMap": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "downwardAPI": "kubernetes.io~downward-api",
    "projected": "kubernetes.io~projected",
}
"""Sources whose files come from the API, and the directories that hold them."""
IN_MEMORY = frozenset({"secret", "downwardAPI", "projected"})
EMPTY_DIR = "kubernetes.io~empty-dir"
PROPAGATION = {
    "None": Propagation.PRIVATE,
    "HostToContainer": Propagation.HOST_TO_CONTAINER,
    "Bidirectional": Propagation.BIDIRECTIONAL,
}


class PodVolumes:
    """Sets up, refreshes and removes the volumes of pods. `node` gives this node's object."""

    def __init__(
        self,
        client: Client,
        options: KubeletOptions,
        node: Callable[[], Object | None],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._client = client
        self._options = options
        self._node = node
        self._clock = clock
        self._rng = rng
        self._tokens = Tokens(client, clock)
        self._payloads = PayloadReader(client, self._tokens)
        self._paths: dict[UID, dict[str, Path]] = {}
        self._timers: dict[UID, Timer] = {}
        self._wakers: list[Callable[[UID], None]] = []

    def watch(self, wake: Callable[[UID], None]) -> None:
        self._wakers.append(wake)

    async def set_up(self, pod: Object) -> None:
        view = PodView(pod)
        volumes = view.spec.get("volumes") or ()
        paths = await asyncio.gather(*(self._guarded(view, volume) for volume in volumes))
        self._paths[view.uid] = {volume["name"]: path for volume, path in zip(volumes, paths, strict=True)}
        if any(kind in volume for volume in volumes for kind in FROM_API):
            self._refresh_later(view.uid)

    def mounts(
        self, pod: Object, container: ContainerObject, environment: Mapping[str, str]
    ) -> tuple[Sequence[Mount], Sequence[Device]]:
        view = PodView(pod)
        paths = self._paths.get(view.uid, {})
        volumes = {volume["name"]: volume for volume in view.spec.get("volumes") or ()}
        made = []
        for index, wanted in enumerate(container.get("volumeMounts") or ()):
            path = paths.get(wanted["name"])
            if path is None:
                raise ConfigError(
                    f'cannot find volume "{wanted["name"]}" to mount into container "{container["name"]}"'
                )
            if part := self._part(wanted, environment):
                path = self._sub_path(view, container["name"], wanted["name"], index, path, part)
            elif not path.exists():
                path.mkdir(mode=0o755, parents=True)
            from_api = any(kind in volumes[wanted["name"]] for kind in FROM_API)
            made.append(
                Mount(
                    container_path=wanted["mountPath"],
                    host_path=str(path),
                    read_only=bool(wanted.get("readOnly")) or from_api,
                    recursive_read_only=wanted.get("recursiveReadOnly") == "Enabled",
                    propagation=PROPAGATION[wanted.get("mountPropagation") or "None"],
                )
            )
        made.sort(key=lambda mount: len(Path(mount.container_path).parts))
        devices = [
            Device(device["devicePath"], str(paths[device["name"]]))
            for device in container.get("volumeDevices") or ()
            if device["name"] in paths
        ]
        return made, devices

    async def tear_down(self, uid: UID) -> None:
        timer = self._timers.pop(uid, None)
        if timer is not None:
            timer.cancel()
        self._paths.pop(uid, None)
        self._tokens.forget(uid)
        directory = self._options.pod_dir(uid)
        try:
            for part in ("volume-subpaths", "volumes"):
                self._remove(directory / part)
        except OSError as error:
            raise NotMounted(f"{error.filename or directory} cannot be removed: {error.strerror}") from error

    async def _guarded(self, pod: PodView, volume: Mapping[str, Any]) -> Path:
        try:
            return await self._set_up(pod, volume)
        except StatusError as error:
            why = error.message
        except (NotMounted, UnknownField, atomic.UnsafePath) as error:
            why = str(error)
        except OSError as error:
            why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise NotMounted(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {why}')

    async def _set_up(self, pod: PodView, volume: Mapping[str, Any]) -> Path:
        """One volume made ready; where it is. Raises NotMounted, StatusError, OSError."""
        name = volume["name"]
        gid = (pod.spec.get("securityContext") or {}).get("fsGroup")
        directory = self._options.pod_dir(pod.uid) / "volumes"
        if (source := volume.get("emptyDir")) is not None:
            return empty_dir.set_up(directory / EMPTY_DIR / name, source, gid)
        if (source := volume.get("hostPath")) is not None:
            return host_path.set_up(source)
        if (source := volume.get("persistentVolumeClaim")) is not None:
            return await claim.set_up(self._client, pod, source["claimName"])
        if volume.get("ephemeral") is not None:
            return await claim.set_up(self._client, pod, f"{pod.name}-{name}")
        for kind, place in FROM_API.items():
            if (source := volume.get(kind)) is not None:
                return await self._write(pod, kind, source, directory / place / name, gid)
        kinds = ", ".join(key for key in volume if key != "name") or "no source"
        raise NotMounted(f"volumes of this type are not supported by this kubelet: {kinds}")

    async def _write(
        self, pod: PodView, kind: str, source: Mapping[str, Any], directory: Path, gid: int | None
    ) -> Path:
        mode = source.get("defaultMode")
        mode = DEFAULT_MODE if mode is None else mode
        if kind == "configMap":
            payload = await self._payloads.config_map(source, pod.namespace, mode)
        elif kind == "secret":
            payload = await self._payloads.secret(source, pod.namespace, mode)
        elif kind == "downwardAPI":
            payload = downward(source, self._facts(pod), mode)
        else:
            payload = await self._payloads.projected(source, self._facts(pod), mode)
        directory.mkdir(parents=True, exist_ok=True)
        if kind in IN_MEMORY and not os.path.ismount(directory):
            empty_dir.mount_memory(directory, executable=False)
        directory.chmod(0o777)
        atomic.write(directory, payload, gid, self._clock.now())
        return directory

    def _facts(self, pod: PodView) -> PodFacts:
        ips = [entry["ip"] for entry in pod.status.get("podIPs") or ()]
        return PodFacts(pod, ips, self._options.node_ips, allocatable_of(self._node()))

    def _refresh_later(self, uid: UID) -> None:
        earlier = self._timers.pop(uid, None)
        if earlier is not None:
            earlier.cancel()

        def wake() -> None:
            for waker in self._wakers:
                waker(uid)

        self._timers[uid] = self._clock.call_later(REFRESH_S * (1 + 0.5 * self._rng.random()), wake)

    @staticmethod
    def _part(wanted: Mapping[str, Any], environment: Mapping[str, str]) -> str:
        if expression := wanted.get("subPathExpr"):
            part = expand(expression, environment)
            if "$(" in part:
                raise ConfigError(f"missing value for a variable in subPathExpr {expression!r}")
            return part
        return str(wanted.get("subPath") or "")

    def _sub_path(self, pod: PodView, container: str, volume: str, index: int, path: Path, part: str) -> Path:
        target = self._options.pod_dir(pod.uid) / "volume-subpaths" / volume / container / str(index)
        try:
            return sub_path.bind(path, part, target)
        except NotMounted as error:
            raise ConfigError(f'failed to prepare subPath for volumeMount "{volume}": {error}') from error
        except OSError as error:
            raise ConfigError(
                f'failed to prepare subPath for volumeMount "{volume}" of container "{container}": {error.strerror}'
            ) from error

    @staticmethod
    def _remove(directory: Path) -> None:
        """Unmount everything below a directory, and only then delete it."""
        if not directory.exists():
            return
        unmount_below([directory])
        shutil.rmtree(directory)
