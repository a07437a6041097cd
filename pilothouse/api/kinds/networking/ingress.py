"""Ingress."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.columns import AGE, NAME, NONE, View, addresses, at, text
from pilothouse.api.kinds.status_reset import clears_status
from pilothouse.api.resource import STATUS, Column, MetadataChecks, Resource
from pilothouse.kit.deferred import Deferred

_SHOWN = 3


def _hosts(obj: View, now: float) -> str:
    rules = at(obj, "spec", "rules") or ()
    hosts: list[str] = []
    more = False
    for rule in rules:
        more = more or len(hosts) == _SHOWN
        if not more and rule.get("host"):
            hosts.append(rule["host"])
    shown = ",".join(hosts) or "*"
    return f"{shown} + {len(rules) - _SHOWN} more..." if more else shown


_CLASS = "kubernetes.io/ingress.class"


def _warnings(obj: View) -> list[str]:
    annotations = obj["metadata"].get("annotations") or {}
    if _CLASS not in annotations or at(obj, "spec", "ingressClassName") is not None:
        return []
    return [f"annotation \"{_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"]


INGRESS = Resource(
    gvr.INGRESSES,
    metadata_checks=MetadataChecks.BOTH,
    short_names=("ing",),
    subresources=(STATUS,),
    columns=(
        NAME,
        text("Class", "spec", "ingressClassName", empty=NONE),
        Column("Hosts", _hosts),
        Column("Address", lambda obj, now: addresses(at(obj, "status", "loadBalancer", "ingress"))),
        Column("Ports", lambda obj, now: "80, 443" if at(obj, "spec", "tls") else "80"),
        AGE,
    ),
    prepare_create=clears_status(gvr.INGRESSES),
    warnings=_warnings,
    validate=Deferred("pilothouse.api.validate.ingress", "validate_ingress"),
    validate_status_update=Deferred("pilothouse.api.validate.ingress", "validate_ingress_status_update"),
)
