"""However a state is reached, the kernel is told the same: a model of nft that knows just the commands in use carries them out."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.proxy.backends.libnftables import NftError
from pilothouse.proxy.backends.nftables import NftTable, TableOptions
from pilothouse.proxy.desired import Node, Rules, merge, rules_of
from pilothouse.proxy.services import Endpoint, Family, ServicePort

NODE = Node("here", "", (), ("10.244.0.0/16",))


class ModelNft:
    """One table, as the commands leave it. Refuses what nft refuses: unknown names, elements twice with different values."""

    def __init__(self) -> None:
        self.chains: dict[str, list[str]] = {}
        self.containers: dict[str, dict[str, str]] = {}

    def list(self, what: str) -> list[dict[str, Any]]:
        return []

    def run(self, commands: str) -> str:
        saved = (
            {name: list(rules) for name, rules in self.chains.items()},
            {n: dict(e) for n, e in self.containers.items()},
        )
        try:
            for command in commands.splitlines():
                self._do(command)
            self._check()
        except NftError:
            self.chains, self.containers = saved
            raise
        return ""

    def _do(self, command: str) -> None:
        verb, kind, _, _, *rest = command.split(" ", 5)
        name, tail = (rest[0], rest[1] if len(rest) > 1 else "") if rest else ("", "")
        match verb, kind:
            case "add", "table":
                return
            case "delete", "table":
                self.chains, self.containers = {}, {}
            case "add", "chain":
                self.chains.setdefault(name, [])
            case "add", "set" | "map":
                self.containers.setdefault(name, {})
            case "add", "rule":
                self._known(self.chains, name).append(tail)
            case "flush", "chain":
                self._known(self.chains, name).clear()
            case "delete", "chain":
                del self.chains[name]
            case "delete", "set":
                del self.containers[name]
            case (("add" | "delete"), "element"):
                elements = self._known(self.containers, name)
                for element in tail.strip("{ }").split(", "):
                    key, _, value = element.partition(" : ")
                    if verb == "delete":
                        if key not in elements:
                            raise NftError(f"no element {key}")
                        del elements[key]
                    elif elements.setdefault(key, value) != value:
                        raise NftError(f"{key} exists")
            case _:
                raise AssertionError(command)

    @staticmethod
    def _known(names: dict[str, Any], name: str) -> Any:
        if name not in names:
            raise NftError(f"no {name}")
        return names[name]

    def _check(self) -> None:
        texts = [rule for rules in self.chains.values() for rule in rules]
        texts += [value for elements in self.containers.values() for value in elements.values()]
        for text in texts:
            for chain in re.findall(r"(?:goto|jump) ([^\s,]+)", text):
                self._known(self.chains, chain)
            for container in re.findall(r"@([^\s,]+)", text):
                self._known(self.containers, container)


def table(nft: ModelNft) -> NftTable:
    return NftTable(nft, Family.V4, NODE, TableOptions())  # type: ignore[arg-type]


endpoints = st.lists(
    st.builds(
        Endpoint,
        ip=st.integers(1, 2).map(lambda number: f"10.244.0.{number}"),
        port=st.just(8080),
        is_local=st.booleans(),
        is_ready=st.booleans(),
    ),
    max_size=2,
    unique_by=lambda one: (one.ip, one.port),
)
ports = st.builds(
    ServicePort,
    namespace=st.just("n"),
    service=st.just(""),
    name=st.just("a"),
    protocol=st.sampled_from(["tcp", "udp"]),
    port=st.sampled_from([80, 81]),
    cluster_ip=st.sampled_from(["10.96.0.1", "10.96.0.2"]),
    node_port=st.sampled_from([0, 30080]),
    external_ips=st.sampled_from([(), ("203.0.113.1",)]),
    is_internal_local=st.booleans(),
    is_external_local=st.booleans(),
    affinity_s=st.sampled_from([None, 10]),
)


@st.composite
def service_rules(draw: st.DrawFn, name: str) -> Rules:
    import dataclasses

    found = draw(
        st.lists(st.tuples(ports, endpoints), max_size=2, unique_by=lambda pair: (pair[0].name, pair[0].protocol))
    )
    return merge([rules_of(dataclasses.replace(port, service=name), ends, NODE, Family.V4) for port, ends in found])


steps = st.lists(
    st.dictionaries(st.sampled_from(["x", "y"]), st.just(None), min_size=1).flatmap(
        lambda names: st.fixed_dictionaries({name: service_rules(name) for name in names})
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(steps, st.booleans())
def test_changes_lead_where_a_fresh_start_leads(steps: list[dict[str, Rules]], sweeps: bool) -> None:
    changed = ModelNft()
    changing = table(changed)
    changing.replace({})
    current: dict[str, Rules] = {}
    for number, step in enumerate(steps):
        changing.change(step, 3.0 * number)
        for name, rules in step.items():
            current.pop(name, None) if not rules.elements else current.__setitem__(name, rules)
        if sweeps:
            changing.sweep(3.0 * number)
        changing.change(step, 3.0 * number)
    changing.sweep(1000.0)
    assert changing.stale == 0

    fresh = ModelNft()
    table(fresh).replace(current)
    assert changed.chains == fresh.chains
    assert {name: set(elements) for name, elements in changed.containers.items()} == {
        name: set(elements) for name, elements in fresh.containers.items()
    }
