"""Runs the lifecycle hooks of containers: exec, httpGet and sleep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.views.pod import PodView
from pilothouse.kit.clock import Clock
from pilothouse.kit.http.client import ConnectionFailed, HttpPool, ResponseTimeout
from pilothouse.kit.http.tls import unverified_client_context
from pilothouse.kubelet.runtime.failures import RuntimeFailure
from pilothouse.kubelet.runtime.runtime import Runtime

_HTTP_TIMEOUT_S = 30.0


class HookFailure(Exception):
    """A hook did not do its work; the text may hold what it printed and is not for events."""


class Hooks:
    """Runs hooks against one runtime."""

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock

    async def run(
        self, handler: Mapping[str, Any], pod: PodView, container: Mapping[str, Any], container_id: str, ip: str
    ) -> None:
        """Return when the hook has ended. Raises HookFailure."""
        name = f'Container "{container["name"]}" in Pod "{pod.name}_{pod.namespace}({pod.uid})"'
        if (action := handler.get("exec")) is not None:
            await self._exec(action.get("command") or (), container_id, name)
        elif (action := handler.get("httpGet")) is not None:
            await self._http_get(action, container, ip, name)
        elif (action := handler.get("sleep")) is not None:
            await self._clock.sleep(float(action["seconds"]))
        else:
            # Validation lets tcpSocket pass for old objects; it was never carried out.
            raise HookFailure(f"Cannot run handler: invalid handler: {dict(handler)}")

    async def _exec(self, command: Any, container_id: str, name: str) -> None:
        shown = " ".join(command)
        try:
            result = await self._runtime.exec(container_id, command, 0)
        except RuntimeFailure as error:
            raise HookFailure(f"Exec lifecycle hook ([{shown}]) for {name} failed - error: {error}") from None
        if result.exit_code != 0:
            output = (result.stdout + result.stderr).decode(errors="replace")
            raise HookFailure(
                f"Exec lifecycle hook ([{shown}]) for {name} failed - error: command '{shown}' exited with "
                f'{result.exit_code}: {output}, message: "{output}"'
            )

    async def _http_get(self, action: Mapping[str, Any], container: Mapping[str, Any], ip: str, name: str) -> None:
        host = action.get("host") or ip
        path = action.get("path") or "/"
        failure = f"HTTP lifecycle hook ({path}) for {name} failed - error: "
        if not host:
            raise HookFailure(f"{failure}failed to find networking container")
        try:
            port = port_number(action["port"], container)
        except ValueError as error:
            raise HookFailure(f"{failure}{error}") from None
        headers = {"user-agent": "kube-lifecycle/1.36", "accept": "*/*", "connection": "close"}
        headers |= {header["name"].lower(): header["value"] for header in action.get("httpHeaders") or ()}
        is_tls = (action.get("scheme") or "HTTP").upper() == "HTTPS"
        pool = HttpPool(
            host, port, ssl_context=unverified_client_context() if is_tls else None, timeout_s=_HTTP_TIMEOUT_S
        )
        try:
            await pool.request("GET", f"/{path.removeprefix('/')}", headers=headers)
        except (ConnectionFailed, ResponseTimeout) as error:
            raise HookFailure(f"{failure}{error}") from None
        finally:
            await pool.close()


def port_number(port: int | str, container: Mapping[str, Any]) -> int:
    """The number of a port that is given by number or by a name of the container's. Raises ValueError."""
    if isinstance(port, int) or port.isdigit():
        number = int(port)
        if not 0 < number < 65536:
            raise ValueError(f"invalid port number: {number}")
        return number
    for declared in container.get("ports") or ():
        if declared.get("name") == port:
            return int(declared["containerPort"])
    raise ValueError(f'couldn\'t find port: "{port}" in container "{container["name"]}"')
