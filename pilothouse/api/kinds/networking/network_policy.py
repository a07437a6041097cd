"""NetworkPolicy."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.kinds.address_warnings import of_subnet
from pilothouse.api.kinds.columns import AGE, NAME, View, at, label_selector
from pilothouse.api.resource import Column, Resource
from pilothouse.kit.deferred import Deferred


def _warnings(policy: View) -> list[str]:
    found: list[str] = []
    for way, side in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(at(policy, "spec", way) or ()):
            for j, peer in enumerate(rule.get(side) or ()):
                block, path = peer.get("ipBlock") or {}, f"spec.{way}[{i}].{side}[{j}].ipBlock"
                found += of_subnet(block.get("cidr", ""), f"{path}.cidr")
                for k, subnet in enumerate(block.get("except") or ()):
                    found += of_subnet(subnet, f"{path}.except[{k}]")
    return found


NETWORK_POLICY = Resource(
    gvr.NETWORK_POLICIES,
    short_names=("netpol",),
    columns=(NAME, Column("Pod-Selector", lambda obj, now: label_selector(at(obj, "spec", "podSelector") or {})), AGE),
    validate=Deferred("pilothouse.api.validate.ingress", "validate_network_policy"),
    warnings=_warnings,
    update_warnings=lambda new, old: _warnings(new),
)
