"""Gets images ahead of the containers that need them, so that pulling overlaps with making the sandbox."""

from __future__ import annotations

import asyncio

from pilothouse.api.views.pod import PodView
from pilothouse.kubelet.actuator import PodActuator, find_container
from pilothouse.kubelet.images import ImageFailure
from pilothouse.kubelet.plan import Start
from pilothouse.kubelet.runtime.records import Image


class ImagePrefetch:
    """The images of the containers to start, those of them got ahead for which `begin` was called."""

    def __init__(self, actuator: PodActuator, pod: PodView) -> None:
        self._actuator = actuator
        self._pod = pod
        self._ahead: dict[str, asyncio.Task[Image | ImageFailure]] = {}

    def begin(self, group: asyncio.TaskGroup, start: Start) -> None:
        self._ahead[start.name] = group.create_task(self._fetch(start))

    async def get(self, start: Start) -> Image:
        """Raises ImageFailure."""
        task = self._ahead.get(start.name)
        found = await (task if task is not None else self._fetch(start))
        if isinstance(found, ImageFailure):
            raise found
        return found

    async def _fetch(self, start: Start) -> Image | ImageFailure:
        container, kind = find_container(self._pod, start.name)
        try:
            return await self._actuator.image(self._pod, container, kind)
        except ImageFailure as failure:
            return failure
