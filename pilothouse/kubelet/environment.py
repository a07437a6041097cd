"""The environment of containers: Services, ConfigMaps, Secrets, fields of the pod, and `$(NAME)` in values.

Source: `pkg/kubelet/kubelet_pods.go` (makeEnvironmentVariables), `pkg/kubelet/envvars`, `third_party/forked/golang/expansion`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pilothouse.api.gvr import CONFIG_MAPS, GVR, SECRETS
from pilothouse.api.meta import Object
from pilothouse.api.status import NotFound, StatusError
from pilothouse.api.views.pod import PodView
from pilothouse.client.client import Client
from pilothouse.client.informer import Informer
from pilothouse.kubelet.field_values import UnknownField, allocatable_of, container_named, field_value, resource_value
from pilothouse.kubelet.seams import ConfigError, ContainerObject

MASTER_SERVICE = ("default", "kubernetes")
"""Every pod learns of it, also without service links: in-cluster clients find the API server by it."""


class PodEnvironment:
    """The environment from the API's objects. `node` gives this node's object."""

    def __init__(self, client: Client, services: Informer, node: Callable[[], Object | None]) -> None:
        self._client = client
        self._services = services
        self._node = node

    async def variables(
        self, pod: Object, container: ContainerObject, pod_ips: Sequence[str], host_ips: Sequence[str]
    ) -> Sequence[tuple[str, str]]:
        """Declared variables in order, then what `envFrom` and Services add. Raises ConfigError."""
        await self._services.synced.wait()
        view = PodView(pod)
        sources = _Sources(self._client, view.namespace)
        links = service_links(self._services.list(), view.namespace, bool(view.spec.get("enableServiceLinks", True)))
        try:
            known = await self._from_sources(container, sources)
            declared: dict[str, str] = {}
            for item in container.get("env") or ():
                value = await self._value(item, view, container, sources, {**links, **known}, (pod_ips, host_ips))
                if value is not None:
                    known[item["name"]] = declared[item["name"]] = value
        except StatusError as error:
            raise ConfigError(error.message) from error
        except UnknownField as error:
            raise ConfigError(str(error)) from error
        return list(
            {**declared, **known, **{name: value for name, value in links.items() if name not in known}}.items()
        )

    async def _from_sources(self, container: ContainerObject, sources: _Sources) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in container.get("envFrom") or ():
            for field, gvr in (("configMapRef", CONFIG_MAPS), ("secretRef", SECRETS)):
                if reference := source.get(field):
                    data = await sources.data(gvr, reference["name"], bool(reference.get("optional")))
                    prefix = source.get("prefix", "")
                    found |= {f"{prefix}{key}": value for key, value in (data or {}).items()}
        return found

    async def _value(
        self,
        item: Mapping[str, Any],
        pod: PodView,
        container: ContainerObject,
        sources: _Sources,
        known: Mapping[str, str],
        ips: tuple[Sequence[str], Sequence[str]],
    ) -> str | None:
        """One variable's value; None for an optional one that has none."""
        if item.get("value"):
            return expand(item["value"], known)
        source = item.get("valueFrom")
        if not source:
            return ""
        if reference := source.get("fieldRef"):
            return field_value(pod, reference["fieldPath"], *ips)
        if reference := source.get("resourceFieldRef"):
            of = container
            if name := reference.get("containerName"):
                found = container_named(pod, name)
                if found is None:
                    raise ConfigError(f"container {name} not found")
                of = found
            return resource_value(reference, of, allocatable_of(self._node()))
        for field, gvr in (("configMapKeyRef", CONFIG_MAPS), ("secretKeyRef", SECRETS)):
            if reference := source.get(field):
                return await sources.value(gvr, reference)
        raise ConfigError(f"env {item['name']}: {', '.join(source)} is not supported by this kubelet")


class _Sources:
    """The ConfigMaps and Secrets of one container's environment, each read once."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._read: dict[tuple[GVR, str], Mapping[str, str]] = {}

    async def data(self, gvr: GVR, name: str, optional: bool) -> Mapping[str, str] | None:
        """All values; None if the object is optional and not there."""
        key = (gvr, name)
        if key not in self._read:
            try:
                obj = await self._client.get(gvr, self._namespace, name)
            except NotFound:
                if optional:
                    return None
                raise
            data: Mapping[str, str] = obj.get("data") or {}
            if gvr == SECRETS:
                data = {name: base64.b64decode(value).decode(errors="surrogateescape") for name, value in data.items()}
            self._read[key] = data
        return self._read[key]

    async def value(self, gvr: GVR, reference: Mapping[str, Any]) -> str | None:
        optional = bool(reference.get("optional"))
        data = await self.data(gvr, reference["name"], optional)
        if data is not None and reference["key"] in data:
            return data[reference["key"]]
        if optional:
            return None
        where = f"{self._namespace}/{reference['name']}"
        raise ConfigError(f"couldn't find key {reference['key']} in {gvr.kind} {where}")


def service_links(services: Iterable[Object], namespace: str, enabled: bool) -> dict[str, str]:
    """The variables by which Services of the namespace are announced, in the form that Docker's links once had."""
    found: dict[str, Object] = {}
    for service in services:
        metadata = service["metadata"]
        if (service.get("spec") or {}).get("clusterIP") in (None, "", "None"):
            continue
        if (metadata["namespace"], metadata["name"]) == MASTER_SERVICE:
            found.setdefault(metadata["name"], service)
        elif enabled and metadata["namespace"] == namespace:
            found[metadata["name"]] = service
    variables: dict[str, str] = {}
    for name, service in sorted(found.items()):
        spec = service["spec"]
        variables |= _link(name.upper().replace("-", "_"), spec["clusterIP"], spec.get("ports") or ())
    return variables


def _link(prefix: str, ip: str, ports: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    if not ports:
        return {}
    host = f"[{ip}]" if ":" in ip else ip
    variables = {f"{prefix}_SERVICE_HOST": ip, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            variables[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    for position, port in enumerate(ports):
        protocol = port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{host}:{port['port']}"
        if position == 0:
            variables[f"{prefix}_PORT"] = url
        base = f"{prefix}_PORT_{port['port']}_{protocol}"
        variables |= {
            base: url,
            f"{base}_PROTO": protocol.lower(),
            f"{base}_PORT": str(port["port"]),
            f"{base}_ADDR": ip,
        }
    return variables


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`text` with each `$(NAME)` replaced; `$$` stands for `$`, and a name that is not known stays as written."""
    out: list[str] = []
    position = 0
    while True:
        dollar = text.find("$", position)
        if dollar < 0 or dollar + 1 == len(text):
            return "".join(out) + text[position:]
        out.append(text[position:dollar])
        following = text[dollar + 1]
        if following == "$":
            out.append("$")
            position = dollar + 2
        elif following == "(" and (end := text.find(")", dollar)) > 0:
            name = text[dollar + 2 : end]
            out.append(variables.get(name, f"$({name})"))
            position = end + 1
        else:
            out.append("$" + following)
            position = dollar + 2
