"""Requests and limits: names of resources and their amounts. Source: `pkg/apis/core/validation/validation.go`, `core/helper`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import lru_cache

from pilothouse.api import names, quantity
from pilothouse.api.path import Path, duplicate, field_forbidden, field_not_found, invalid, not_supported, required
from pilothouse.api.validate.values import NOT_NEGATIVE, NOT_WHOLE, Errors, Part, check_name

HUGE_PAGES = "hugepages-"
_COUNTED = (
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
)  # fmt: skip
_STANDARD = {
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu",
    "limits.memory", "limits.ephemeral-storage", "storage", "requests.storage", *_COUNTED,
}  # fmt: skip
_QUOTA = _STANDARD - {"storage"}
_OF_CONTAINERS = ("cpu", "memory", "ephemeral-storage")
_OF_PODS = ("cpu", "hugepages-", "memory")


def is_native(name: str) -> bool:
    """Whether a resource belongs to Kubernetes itself."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """Whether a resource is a device that a node advertises, such as `example.com/gpu`."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not names.label_key(f"requests.{name}")


def allows_overcommit(name: str) -> bool:
    """Whether requests may be smaller than limits."""
    return is_native(name) and not name.startswith(HUGE_PAGES)


def is_counted(name: str) -> bool:
    """Whether amounts must be whole."""
    return name in _COUNTED or is_extended(name)


def check_resource_name(name: str, path: Path, errors: Errors) -> None:
    count = len(errors)
    check_name(names.label_key, name, path, errors)
    if (
        len(errors) == count
        and "/" not in name
        and name not in _STANDARD
        and not name.startswith((HUGE_PAGES, "requests.hugepages-"))
    ):
        errors.append(invalid(path, name, "must be a standard resource type or fully qualified"))


def check_container_resource_name(name: str, path: Path, errors: Errors) -> None:
    check_resource_name(name, path, errors)
    if "/" not in name:
        if name not in _OF_CONTAINERS and not name.startswith(HUGE_PAGES):
            errors.append(invalid(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        errors.append(invalid(path, name, "doesn't follow extended resource name standard"))


def check_pod_resource_name(name: str, path: Path, errors: Errors) -> None:
    """The resources that a pod can ask for as a whole."""
    count = len(errors)
    check_resource_name(name, path, errors)
    if len(errors) == count and name not in _OF_PODS and not name.startswith(HUGE_PAGES):
        errors.append(not_supported(path, name, _OF_PODS))


def is_quota_name(name: str) -> bool:
    """Whether a quota may limit this resource of Kubernetes' own."""
    return name in _QUOTA or name.startswith((HUGE_PAGES, "requests.hugepages-"))


def check_quota_resource_name(name: str, path: Path, errors: Errors) -> None:
    check_resource_name(name, path, errors)
    if "/" not in name and not is_quota_name(name):
        errors.append(invalid(path, name, "must be a standard resource for quota"))


def check_amount(name: str, value: str, path: Path, errors: Errors) -> None:
    """An amount of the resource `name`: not negative, and whole where it counts things."""
    milli = quantity.to_milli(value)
    if milli < 0:
        errors.append(invalid(path, str(value), NOT_NEGATIVE))
    if milli % 1000 and is_counted(name):
        errors.append(invalid(path, str(value), NOT_WHOLE))


@lru_cache(1024)
def _is_plain(name: str, value: str) -> bool:
    """Whether a container may ask for this amount of one of the usual resources; most do, and nothing more is to be checked."""
    return name in _OF_CONTAINERS and quantity.to_milli(value) >= 0


NameCheck = Callable[[str, Path, Errors], None]


def check_requirements(
    resources: Part,
    claims: Collection[str],
    path: Path,
    errors: Errors,
    *,
    check_name: NameCheck = check_container_resource_name,
) -> None:
    """`claims` are the names of the pod's resource claims."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    plain = check_name is check_container_resource_name
    for name, value in limits.items():
        if not (plain and _is_plain(name, value)):
            here = path.child("limits").key(name)
            check_name(name, here, errors)
            check_amount(name, value, here, errors)
            _check_pages(name, value, here, errors)
    for name, value in requests.items():
        is_usual = plain and _is_plain(name, value)
        if not is_usual:
            here = path.child("requests").key(name)
            check_name(name, here, errors)
            check_amount(name, value, here, errors)
        limit = limits.get(name)
        if limit is None:
            if not allows_overcommit(name):
                errors.append(required(path.child("limits"), "Limit must be set for non overcommitable resources"))
        elif value != limit:
            _check_against_limit(name, value, limit, path, errors)
        if not is_usual:
            _check_pages(name, value, path.child("requests").key(name), errors)
    if any(name.startswith(HUGE_PAGES) for name in (*limits, *requests)) and not (
        {"cpu", "memory"} & {*limits, *requests}
    ):
        errors.append(field_forbidden(path, "HugePages require cpu or memory"))
    if listed := resources.get("claims"):
        _check_claims(listed, claims, path.child("claims"), errors)


def _check_against_limit(name: str, value: str, limit: str, path: Path, errors: Errors) -> None:
    asked, allowed = quantity.parse(str(value)), quantity.parse(str(limit))
    if asked != allowed and not allows_overcommit(name):
        errors.append(invalid(path.child("requests"), str(asked), f"must be equal to {name} limit of {allowed}"))
    elif asked > allowed:
        text = f"must be less than or equal to {name} limit of {allowed}"
        errors.append(invalid(path.child("requests"), str(asked), text))


def _check_pages(name: str, value: str, path: Path, errors: Errors) -> None:
    if name.startswith(HUGE_PAGES) and not _is_divisible(name, value):
        errors.append(invalid(path, str(value), f"{value} is not positive integer multiple of {name}"))


def _is_divisible(name: str, value: str) -> bool:
    try:
        page = quantity.parse(name.removeprefix(HUGE_PAGES))
    except ValueError:
        return False
    return page.nano > 0 and page.is_whole and quantity.to_int(value) % page.value == 0


def _check_claims(listed: Sequence[Part], claims: Collection[str], path: Path, errors: Errors) -> None:
    seen: set[str] = set()
    for i, claim in enumerate(listed):
        name, request = claim.get("name", ""), claim.get("request", "")
        here = path.index(i)
        if not name:
            errors.append(required(here))
            continue
        key = f"{name}/{request}" if request else name
        if name in seen:
            errors.append(duplicate(here, name))
        else:
            if request:
                check_name(names.dns_label, request, here.child("request"), errors)
            if key in seen:
                errors.append(duplicate(here, key))
            elif not request:
                errors.extend(duplicate(here, name) for other in seen if other.startswith(f"{name}/"))
            seen.add(key)
        if name not in claims:
            known = f": {', '.join(sorted(claims))}" if claims else " which is empty"
            text = f"must be one of the names in pod.spec.resourceClaims{known}"
            errors.append(replace(field_not_found(here, name), detail=text))
