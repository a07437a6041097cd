"""What is recorded of requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pilothouse.api.user import User
from pilothouse.apiserver.audit.auditor import Auditor
from pilothouse.apiserver.audit.log_file import LogFile
from pilothouse.apiserver.audit.policy import Policy, PolicyError
from pilothouse.apiserver.audit.sink import FileSink, Losses
from pilothouse.apiserver.route import request_info
from pilothouse.kit.clock import VirtualClock
from tests.apiserver.harness import Harness, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


def policy(*rules: dict[str, Any], **fields: Any) -> Policy:
    return Policy({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **fields})


class World:
    def __init__(self, path: Path, *rules: dict[str, Any], **fields: Any) -> None:
        self.harness = Harness()
        self._path = path / "audit.log"
        file = LogFile(str(self._path), self.harness.clock)
        losses = Losses()
        sinks = [FileSink(file, losses, self.harness.clock)]
        self.auditor = self.harness.app._auditor = Auditor(policy(*rules, **fields), sinks, losses, self.harness.clock)

    @property
    def events(self) -> list[Any]:
        return [orjson.loads(line) for line in self._path.read_bytes().splitlines()]


async def test_metadata_of_a_request(tmp_path: Path) -> None:
    world = World(tmp_path, {"level": "Metadata"})
    answer = await world.harness.request("POST", MAPS, body=config_map("a"), headers={"user-agent": "x"})
    received, complete = world.events
    assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
    assert received["auditID"] == complete["auditID"] == answer.headers["audit-id"]
    assert complete["objectRef"] == {
        "resource": "configmaps",
        "namespace": "default",
        "name": "a",
        "apiVersion": "v1",
    }
    assert complete["user"]["username"] == "tester"
    assert complete["responseStatus"]["code"] == 201
    assert "requestObject" not in complete
    assert (complete["verb"], complete["userAgent"], complete["requestURI"]) == ("create", "x", MAPS)


async def test_bodies_by_level(tmp_path: Path) -> None:
    rules = [
        {"level": "None", "verbs": ["get"]},
        {"level": "Request", "verbs": ["create"]},
        {"level": "RequestResponse"},
    ]
    world = World(tmp_path, *rules, omitStages=["RequestReceived"], omitManagedFields=True)
    await world.harness.request("POST", MAPS, body=config_map("a"))
    await world.harness.request("GET", f"{MAPS}/a")
    await world.harness.request("DELETE", f"{MAPS}/nothing")
    await world.harness.request("GET", MAPS)
    create, delete, list_ = world.events
    assert create["requestObject"]["metadata"]["name"] == "a"
    assert "responseObject" not in create
    assert delete["responseStatus"]["reason"] == "NotFound"
    (item,) = list_["responseObject"]["items"]
    assert "managedFields" not in item["metadata"]


async def test_objects_in_yaml_are_recorded_as_objects(tmp_path: Path) -> None:
    world = World(tmp_path, {"level": "Request"}, omitStages=["RequestReceived"])
    body = b"{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"
    await world.harness.request("POST", MAPS, body=body, headers={"content-type": "application/yaml"})
    await world.harness.request("POST", MAPS, body=b"a: [", headers={"content-type": "application/yaml"})
    good, bad = world.events
    assert good["requestObject"]["metadata"] == {"name": "a"}
    assert (bad["responseStatus"]["code"], "requestObject" in bad) == (400, False)


async def test_a_watch_has_a_beginning_and_an_end(tmp_path: Path) -> None:
    world = World(tmp_path, {"level": "Metadata"}, omitStages=["RequestReceived"])
    answer = await world.harness.request("GET", MAPS, query="watch=1")
    assert [event["stage"] for event in world.events] == ["ResponseStarted"]
    assert not isinstance(answer.body, bytes)
    await answer.body.aclose()  # type: ignore[attr-defined]
    assert [event["stage"] for event in world.events] == ["ResponseStarted", "ResponseComplete"]


def test_which_rule_fits() -> None:
    def level(rule: dict[str, Any], path: str, user: User | None = None) -> str:
        found = policy({"level": "Metadata", **rule})
        return found.decide(user or User("u", groups=("g",)), request_info("GET", path, {})).level

    assert level({"users": ["u"], "userGroups": ["g"], "verbs": ["list"]}, MAPS) == "Metadata"
    assert level({"users": ["v"]}, MAPS) == level({"userGroups": ["h"]}, MAPS) == "None"
    assert level({"resources": [{"group": "", "resources": ["configmaps"]}]}, MAPS) == "Metadata"
    assert level({"resources": [{"group": "apps"}]}, MAPS) == "None"
    status = "/api/v1/namespaces/a/pods/p/status"
    assert level({"resources": [{"resources": ["pods"]}]}, status) == "None"
    for pattern in ("pods/status", "pods/*", "*/status", "*"):
        assert level({"resources": [{"resources": [pattern]}]}, status) == "Metadata"
    assert level({"resources": [{"resources": ["*"], "resourceNames": ["q"]}]}, status) == "None"
    assert level({"namespaces": ["b"]}, status) == "None"
    assert level({"nonResourceURLs": ["/healthz*"]}, "/healthz/ping") == "Metadata"
    assert level({"nonResourceURLs": ["*"]}, MAPS) == "None"


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [{"level": "Everything"}],
        [{"level": "Metadata", "omitStages": ["Later"]}],
        [{"level": "Metadata", "nonResourceURLs": ["/x"], "namespaces": ["a"]}],
    ],
)
def test_policies_that_cannot_be(rules: list[Any]) -> None:
    with pytest.raises(PolicyError):
        policy(*rules)
    with pytest.raises(PolicyError):
        Policy({"kind": "Policy", "rules": rules})


async def test_a_large_file_is_put_aside(tmp_path: Path) -> None:
    clock = VirtualClock()
    file = LogFile(str(tmp_path / "a.log"), clock, max_bytes=10, max_backups=2)
    for number in range(5):
        file.write(b"%d2345678\n" % number)
        await clock.advance(1)
    file.close()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert len(kept) == 3
    assert (tmp_path / "a.log").read_bytes() == b"42345678\n"
    again = LogFile(str(tmp_path / "a.log"), clock)
    again.write(b"x\n")
    again.close()
    assert (tmp_path / "a.log").read_bytes() == b"42345678\nx\n"
