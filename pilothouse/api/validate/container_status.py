"""What a pod's status says of its containers: who they run as, how the resources they have are, where claims went.

Source: `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from itertools import chain

from pilothouse.api import names
from pilothouse.api.path import Path, duplicate, field_forbidden, invalid, not_supported, required, too_long
from pilothouse.api.validate.values import Errors, Part, check_name

_STATUS = Path("status")
_LISTS = {"containerStatuses": "containers", "initContainerStatuses": "initContainers"}
_EPHEMERAL = "ephemeralContainerStatuses"
_PATHS = {field: _STATUS.child(field) for field in (*_LISTS, _EPHEMERAL)}
_HEALTH = ("Healthy", "Unhealthy", "Unknown")
_LONGEST_MESSAGE = 1024


def check_container_statuses(status: Part, spec: Part, errors: Errors) -> None:
    system = (spec.get("os") or {}).get("name", "linux")
    for field in (*_LISTS, _EPHEMERAL):
        for path, container in _saying(status, field, "user"):
            user = container["user"].get("linux")
            if user is not None:
                _check_user(user, system, path.child("user", "linux"), errors)
    for field, declared in _LISTS.items():
        for path, container in _saying(status, field, "allocatedResourcesStatus"):
            containers = {each["name"]: each for each in reversed(spec.get(declared) or ())}
            _check_allocated(container, containers.get(container.get("name", "")), path, errors)
    for path, _ in _saying(status, _EPHEMERAL, "allocatedResourcesStatus"):
        place = path.child("allocatedResourcesStatus")
        errors.append(field_forbidden(place, "must not be specified in container status"))


def _saying(status: Part, field: str, name: str) -> list[tuple[Path, Part]]:
    """The containers of a list that say something under a name, which few do."""
    containers = enumerate(status.get(field) or ())
    return [(_PATHS[field].index(i), container) for i, container in containers if container.get(name)]


def _check_user(user: Part, system: str, path: Path, errors: Errors) -> None:
    if system == "windows":
        errors.append(field_forbidden(path, "cannot be set for a windows pod"))
        return
    groups = user.get("supplementalGroups") or ()
    numbers = [(path.child("uid"), user.get("uid", 0)), (path.child("gid"), user.get("gid", 0))]
    numbers += [(path.child("supplementalGroups").index(i), group) for i, group in enumerate(groups)]
    for place, number in numbers:
        check_name(names.user_or_group_id, number, place, errors)


def _check_allocated(status: Part, container: Part | None, path: Path, errors: Errors) -> None:
    for i, resource in enumerate(status.get("allocatedResourcesStatus") or ()):
        here = path.child("allocatedResourcesStatus").index(i)
        if container is not None:
            _check_is_asked_for(resource.get("name", ""), container.get("resources") or {}, here.child("name"), errors)
        seen: set[str] = set()
        for j, health in enumerate(resource.get("resources") or ()):
            place = here.child("resources").index(j)
            if health.get("health", "") not in _HEALTH:
                errors.append(not_supported(place.child("health"), health.get("health", ""), _HEALTH))
            message = health.get("message")
            if message == "":
                errors.append(required(place.child("message"), "must be non-empty if specified"))
            elif message is not None and len(message.encode()) > _LONGEST_MESSAGE:
                errors.append(too_long(place.child("message"), _LONGEST_MESSAGE))
            resource_id = health.get("resourceID", "")
            if resource_id in seen:
                errors.append(duplicate(place.child("resourceID"), resource_id))
            seen.add(resource_id)


def _check_is_asked_for(name: str, resources: Part, path: Path, errors: Errors) -> None:
    if name.startswith("claim:"):
        claims = [f"claim:{claim['name']}" + _request(claim) for claim in resources.get("claims") or ()]
        if name not in claims:
            form = "'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty"
            errors.append(invalid(path, name, f"must match one of the container's resource claims in a format {form}"))
    elif name not in (resources.get("requests") or ()):
        errors.append(invalid(path, name, "must match one of the container's resource requests"))


def _request(claim: Part) -> str:
    return f"/{claim['request']}" if claim.get("request") else ""


def check_extended_claim(claim: Part, spec: Part, errors: Errors) -> None:
    """Where the extended resources of the pod's containers come from."""
    path = _STATUS.child("extendedResourceClaimStatus")
    listed = claim.get("requestMappings") or ()
    if not listed:
        errors.append(required(path.child("requestMappings"), "at least one request mapping is required"))
    containers = {each["name"]: each for each in chain(spec.get("initContainers") or (), spec.get("containers") or ())}
    places = "spec.initContainers.{0} or spec.containers.{0}"
    seen: set[tuple[str, ...]] = set()
    for i, mapping in enumerate(listed):
        here = path.child("requestMappings").index(i)
        key = tuple(mapping.get(field, "") for field in ("containerName", "resourceName", "requestName"))
        container, resource, request = key
        if container not in containers:
            text = f"must match the name of an entry in {places.format('name')}"
            errors.append(invalid(here.child("containerName"), container, text))
        elif resource not in ((containers[container].get("resources") or {}).get("requests") or ()):
            text = f"must match the extended resource name of an entry in {places.format('resources.requests')}"
            errors.append(invalid(here.child("resourceName"), resource, text))
        check_name(names.dns_label, request, path.child("requestName"), errors)
        if key in seen:
            for field, value in zip(("containerName", "resourceName", "requestName"), key, strict=True):
                errors.append(duplicate(here.child(field), value))
        seen.add(key)
    name = claim.get("resourceClaimName")
    if name:
        check_name(names.dns_subdomain, name, path.child("resourceClaimName"), errors)
    else:
        errors.append(required(path.child("resourceClaimName")))
