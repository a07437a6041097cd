"""Gets the images of containers onto the node: pull policy, credentials, back-off, events.

Failures to pull are remembered for each pod and image: 10 s, doubled up to 300 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.api import status
from pilothouse.api.gvr import SECRETS
from pilothouse.api.meta import UID, Object
from pilothouse.api.views.pod import PodView
from pilothouse.client.client import Client
from pilothouse.kit.clock import Clock
from pilothouse.kubelet.credentials import fitting, with_default_tag
from pilothouse.kubelet.restart import CrashBackoff, Delay
from pilothouse.kubelet.runtime.failures import NotFoundInRuntime, RuntimeFailure
from pilothouse.kubelet.runtime.records import Image
from pilothouse.kubelet.runtime.runtime import Runtime
from pilothouse.kubelet.runtime.specs import SandboxSpec

_CONCURRENT_PULLS = 4

Tell = Callable[[str, str, str], None]
"""Records an event about the container: type, reason, message."""


class ImageFailure(Exception):
    """An image cannot be had. `reason` is the container's waiting reason; `retry_at` when to try again (monotonic)."""

    def __init__(self, reason: str, message: str, retry_at: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_at = retry_at


@dataclass(slots=True)
class _Failed:
    delay: Delay
    text: str


class Images:
    """The images of one node."""

    def __init__(self, runtime: Runtime, client: Client, clock: Clock, backoff: CrashBackoff) -> None:
        self._runtime = runtime
        self._client = client
        self._clock = clock
        self._backoff = backoff
        self._failed: dict[tuple[UID, str], _Failed] = {}
        self._pulls = asyncio.Semaphore(_CONCURRENT_PULLS)

    async def ensure(
        self, pod: PodView, reference: str, policy: str, tell: Tell, sandbox: SandboxSpec | None = None
    ) -> Image:
        """The image that `reference` names, pulled if `policy` says so. Raises ImageFailure."""
        try:
            image = with_default_tag(reference)
        except ValueError as error:
            message = (
                f'Failed to apply default image tag "{reference}": couldn\'t parse image name "{reference}": {error}'
            )
            tell("Warning", "InspectFailed", message)
            raise ImageFailure("InvalidImageName", message) from None
        if policy != "Always":
            present = await self._inspect(image, reference, tell)
            if present is not None:
                tell(
                    "Normal",
                    "Pulled",
                    f'Container image "{reference}" already present on machine and can be accessed by the pod',
                )
                return present
            if policy == "Never":
                message = f'Container image "{reference}" is not present with pull policy of Never'
                tell("Warning", "ErrImageNeverPull", message)
                raise ImageFailure("ErrImageNeverPull", message)
        return await self._pull(pod, image, reference, tell, sandbox)

    def forget(self, uid: UID) -> None:
        """Drop what is remembered of a pod."""
        for key in [key for key in self._failed if key[0] == uid]:
            del self._failed[key]

    async def _inspect(self, image: str, reference: str, tell: Tell) -> Image | None:
        try:
            return await self._runtime.image(image)
        except NotFoundInRuntime:
            return None
        except RuntimeFailure as error:
            message = f'Failed to inspect image "{reference}": {error}'
            tell("Warning", "InspectFailed", message)
            raise ImageFailure("ImageInspectError", message) from None

    async def _pull(self, pod: PodView, image: str, reference: str, tell: Tell, sandbox: SandboxSpec | None) -> Image:
        key = (pod.uid, image)
        failed = self._failed.get(key)
        now = self._clock.monotonic()
        if failed is not None and now < failed.delay.since + failed.delay.seconds:
            message = f'Back-off pulling image "{reference}"'
            tell("Normal", "BackOff", message)
            until = failed.delay.since + failed.delay.seconds
            raise ImageFailure("ImagePullBackOff", f"{message}: {failed.text}", until)
        credentials = fitting(image, await self._secrets(pod, tell))
        tell("Normal", "Pulling", f'Pulling image "{reference}"')
        asked = self._clock.monotonic()
        try:
            async with self._pulls:
                started = self._clock.monotonic()
                pulled = await self._try_all(image, credentials, sandbox)
        except RuntimeFailure as error:
            tell("Warning", "Failed", f'Failed to pull image "{reference}": {error}')
            now = self._clock.monotonic()
            delay = self._backoff.next(failed.delay if failed is not None else None, now, now)
            self._failed[key] = _Failed(delay, f"ErrImagePull: {error}")
            raise ImageFailure("ErrImagePull", str(error), now + delay.seconds) from None
        self._failed.pop(key, None)
        done = self._clock.monotonic()
        tell(
            "Normal",
            "Pulled",
            f'Successfully pulled image "{reference}" in {_duration(done - started)} '
            f"({_duration(done - asked)} including waiting). Image size: {pulled.size_bytes} bytes.",
        )
        return pulled

    async def _try_all(self, image: str, credentials: list[Any], sandbox: SandboxSpec | None) -> Image:
        failure: RuntimeFailure | None = None
        for credential in credentials or (None,):
            try:
                reference = await self._runtime.pull(image, credential, sandbox)
            except RuntimeFailure as error:
                failure = error
                continue
            pulled = await self._runtime.image(reference or image)
            if pulled is None:
                raise RuntimeFailure(f'image "{image}" was pulled but is not there')
            return pulled
        assert failure is not None
        raise failure

    async def _secrets(self, pod: PodView, tell: Tell) -> list[Object]:
        secrets: list[Object] = []
        missing: list[str] = []
        references: list[Mapping[str, str]] = pod.spec.get("imagePullSecrets") or []
        for reference in references:
            name = reference.get("name", "")
            if not name:
                continue
            try:
                secrets.append(await self._client.get(SECRETS, pod.namespace, name))
            except status.StatusError:
                missing.append(name)
        if missing:
            tell(
                "Warning",
                "FailedToRetrieveImagePullSecret",
                f"Unable to retrieve some image pull secrets ({', '.join(missing)}); attempting to pull the image may not "
                "succeed.",
            )
        return secrets


def _duration(seconds: float) -> str:
    """As Go prints durations that are cut to milliseconds: `0s`, `12ms`, `1.204s`, `1m2.5s`."""
    milliseconds = int(seconds * 1000)
    if not milliseconds:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{text}" if minutes else text
