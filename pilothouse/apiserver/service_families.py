"""The address families of a Service, worked out from what its writer gave and from what was there before.

Source: `pkg/registry/core/service/storage/alloc.go` (`initIPFamilyFields`), `strategy.go`, KEP-563.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api.kinds.core.service import needs_cluster_ip
from pilothouse.api.meta import Object
from pilothouse.api.path import FieldError, Path, invalid, invalid_object
from pilothouse.api.validate.service import check_addresses
from pilothouse.api.validate.values import parse_address

_SPEC = Path("spec")
_CLUSTER_IPS = _SPEC.child("clusterIPs")
_POLICY = _SPEC.child("ipFamilyPolicy")
_FAMILIES = _SPEC.child("ipFamilies")


def normalize_cluster_ips(spec: Object, before: Mapping[str, Any]) -> None:
    """Keep `clusterIP` and `clusterIPs` in step for a client that knows only the older one."""
    one, many = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    old_one, old_many = before.get("clusterIP", ""), before.get("clusterIPs") or []
    if not before:
        if one and not many:
            spec["clusterIPs"] = [one]
        return
    if old_many and not many and one == old_one:
        spec["clusterIPs"] = list(old_many)
    elif one != old_one and many == old_many:
        if one:
            spec["clusterIPs"] = [one]
        else:
            spec.pop("clusterIPs", None)


def fill_families(draft: Object, old: Mapping[str, Any], configured: Sequence[str], default: str) -> None:
    """Infer `ipFamilyPolicy` and `ipFamilies` from each other, from the addresses and from what was. Raises Invalid."""
    spec, before = draft["spec"], old["spec"]
    if _stays_preferred(spec, before):
        return
    is_free = spec.get("clusterIP") == "None" and not spec.get("selector")
    if "ipFamilyPolicy" not in spec:
        spec["ipFamilyPolicy"] = before.get("ipFamilyPolicy") or ("RequireDualStack" if is_free else "SingleStack")
    errors: list[FieldError] = []
    check_addresses(spec, errors, kept=before.get("clusterIPs") or ())
    _refuse(draft, errors)
    _follow_policy(spec, before, errors)
    families = _infer(spec, configured, errors)
    _refuse(draft, errors)
    policy = spec["ipFamilyPolicy"]
    if not is_free:
        if policy == "RequireDualStack" and len(configured) < 2:
            errors.append(invalid(_POLICY, policy, "this cluster is not configured for dual-stack services"))
        errors += (
            invalid(_FAMILIES.index(position), family, "not configured on this cluster")
            for position, family in enumerate(families)
            if family not in configured
        )
        _refuse(draft, errors)
    families = families or [default]
    if policy != "SingleStack" and len(families) == 1 and (is_free or len(configured) == 2):
        families.append("IPv6" if families[0] == "IPv4" else "IPv4")
    spec["ipFamilies"] = families


def _stays_preferred(spec: Object, before: Mapping[str, Any]) -> bool:
    """Whether a Service that prefers both families is left alone: a change of the cluster's families does not reach it."""
    return bool(
        before
        and spec.get("ipFamilyPolicy") == "PreferDualStack"
        and before.get("ipFamilyPolicy", "PreferDualStack") == "PreferDualStack"
        and spec.get("type") == before.get("type")
        and needs_cluster_ip(spec)
        and all((spec.get(field) or []) == (before.get(field) or []) for field in ("clusterIPs", "ipFamilies"))
    )


def _follow_policy(spec: Object, before: Mapping[str, Any], errors: list[FieldError]) -> None:
    """One family gives up a second address that was there; several addresses or families need a policy for them."""
    policy = spec["ipFamilyPolicy"]
    kinds = (
        ("clusterIPs", "cluster IP", "multiple cluster IPs"),
        ("ipFamilies", "IP family", "multiple IP families"),
    )
    for field, one, several in kinds:
        now, then = spec.get(field) or [], before.get(field) or []
        if policy == "SingleStack":
            if now == then and len(now) > 1:
                spec[field] = now = now[:1]
            if len(now) == 2:
                why = f"must be 'RequireDualStack' or 'PreferDualStack' when {several} are specified"
                errors.append(invalid(_POLICY, policy, why))
        elif now and len(then) > len(now):
            errors.append(invalid(_POLICY, policy, f"must be 'SingleStack' to release the secondary {one}"))


def _infer(spec: Object, configured: Sequence[str], errors: list[FieldError]) -> list[str]:
    """The families that are given, and those of the addresses that come without one."""
    families: list[str] = list(spec.get("ipFamilies") or ())
    addresses: list[str] = spec.get("clusterIPs") or []
    for position, address in enumerate(addresses):
        if address == "None":
            break
        parsed = parse_address(address)
        if position < len(families) or parsed is None:
            continue
        family = f"IPv{parsed.version}"
        if family in configured:
            families.append(family)
        else:
            errors.append(
                invalid(_CLUSTER_IPS.index(position), addresses, f"{family} is not configured on this cluster")
            )
    return families


def _refuse(draft: Mapping[str, Any], errors: list[FieldError]) -> None:
    if errors:
        raise invalid_object("", "Service", draft["metadata"].get("name", ""), errors)
