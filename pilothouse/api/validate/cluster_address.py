"""IPAddresses and ServiceCIDRs. Source: `pkg/apis/networking/validation`, KEP-1880."""

from __future__ import annotations

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, invalid, required
from pilothouse.api.validate.shown import shown
from pilothouse.api.validate.values import (
    IMMUTABLE,
    Errors,
    Part,
    check_canonical_address,
    check_canonical_cidr,
    check_name,
    parse_address,
)

_PARENT = Path("spec.parentRef")
_CIDRS = Path("spec.cidrs")
_REFERENCE = {"Group": "", "Resource": "", "Namespace": "", "Name": ""}
_TWO_FAMILIES = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"


def validate_address(address: Part) -> list[FieldError]:
    errors: Errors = []
    for field in ("generateName", "name"):
        if name := address["metadata"].get(field):
            check_canonical_address(name, Path("metadata").child(field), errors)
    parent = (address.get("spec") or {}).get("parentRef")
    if parent is None:
        return [*errors, required(_PARENT)]
    if group := parent.get("group"):
        check_name(names.dns_subdomain, group, _PARENT.child("group"), errors)
    for field in ("resource", "name"):
        if not parent.get(field):
            errors.append(required(_PARENT.child(field)))
        else:
            check_name(names.path_segment, parent[field], _PARENT.child(field), errors)
    if namespace := parent.get("namespace"):
        check_name(names.path_segment, namespace, _PARENT.child("namespace"), errors)
    return errors


def validate_address_update(new: Part, old: Part) -> list[FieldError]:
    now, then = (new.get("spec") or {}).get("parentRef"), (old.get("spec") or {}).get("parentRef")
    return [] if now == then else [invalid(_PARENT, now and shown(now, _REFERENCE), IMMUTABLE)]


def validate_service_cidr(cidr: Part) -> list[FieldError]:
    errors: Errors = []
    spec = cidr.get("spec") or {}
    cidrs = spec.get("cidrs") or []
    if not cidrs:
        return [required(_CIDRS, "at least one CIDR required")]
    if len(cidrs) > 2:
        return [invalid(_CIDRS, shown(spec, {"CIDRs": None}), "may only hold up to 2 values")]
    for i, one in enumerate(cidrs):
        check_canonical_cidr(one, _CIDRS.index(i), errors)
    families = [parsed.version for one in cidrs if (parsed := parse_address(one.partition("/")[0])) is not None]
    if len(families) == 2 and families[0] == families[1]:
        errors.append(invalid(_CIDRS, cidrs, _TWO_FAMILIES))
    return errors


def validate_service_cidr_update(new: Part, old: Part) -> list[FieldError]:
    """A range stays; one of the other family may be added."""
    now, then = (new.get("spec") or {}).get("cidrs") or [], (old.get("spec") or {}).get("cidrs") or []
    if len(now) == len(then):
        return [
            invalid(_CIDRS.index(i), one, IMMUTABLE)
            for i, (one, before) in enumerate(zip(now, then, strict=True))
            if one != before
        ]
    if len(then) == 1 and len(now) == 2:
        changed = [invalid(_CIDRS.index(0), now[0], IMMUTABLE)] if now[0] != then[0] else []
        return [*changed, *validate_service_cidr(new)]
    return [invalid(_CIDRS, now or None, IMMUTABLE)]
