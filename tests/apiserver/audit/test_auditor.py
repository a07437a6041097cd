"""What is recorded of requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pilothouse.api.status import Forbidden, Unauthorized
from pilothouse.api.user import User
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.audit.auditor import Auditor
from pilothouse.apiserver.audit.log_file import LogFile
from pilothouse.apiserver.audit.policy import Policy, PolicyError
from pilothouse.apiserver.audit.sink import FileSink, Losses
from pilothouse.apiserver.authz.attributes import Attributes as Access
from pilothouse.apiserver.authz.attributes import Decision, UserRules, Verdict
from pilothouse.apiserver.authz.chain import Chain, Link
from pilothouse.apiserver.authz.gate import Gate
from pilothouse.apiserver.route import request_info
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.http.message import Peer, Request
from tests.apiserver.harness import Harness, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


def policy(*rules: dict[str, Any], **fields: Any) -> Policy:
    return Policy({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **fields})


class World:
    def __init__(self, path: Path, *rules: dict[str, Any], admission: Any = None, **fields: Any) -> None:
        self.harness = Harness(admission)
        self._path = path / "audit.log"
        file = self.file = LogFile(str(self._path), self.harness.clock)
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


async def test_a_short_answer_of_what_goes_on_has_a_beginning_too(tmp_path: Path) -> None:
    world = World(tmp_path, {"level": "Metadata"}, omitStages=["RequestReceived"])
    answer = await world.harness.request("GET", "/api/v1/namespaces/default/pods/nothing/log")
    assert answer.status == 501
    assert [event["stage"] for event in world.events] == ["ResponseStarted", "ResponseComplete"]


async def test_who_does_not_prove_to_be_somebody_is_recorded(tmp_path: Path) -> None:
    world = World(tmp_path, {"level": "Metadata"})

    async def refuse(request: Request) -> User:
        raise Unauthorized("Unauthorized")

    world.harness.everybody.authenticate = refuse  # type: ignore[method-assign]
    await world.harness.request("GET", MAPS, headers={"authorization": "Bearer x"})
    (event,) = world.events
    assert (event["stage"], event["user"]) == ("ResponseStarted", {})
    assert event["responseStatus"] == {
        "metadata": {},
        "code": 401,
        "status": "Failure",
        "message": "Unauthorized",
        "reason": "Unauthorized",
    }


class Pretending:
    """Impersonates whoever is named, or refuses."""

    async def impersonate(self, request: Request, user: User) -> tuple[User, str]:
        name = request.headers.get("impersonate-user", "")
        if name == "nobody":
            raise Forbidden("not him")
        return (User(name), "impersonate:user-info") if name else (user, "")


async def test_impersonation(tmp_path: Path) -> None:
    world = World(tmp_path, {"level": "Metadata"}, omitStages=["RequestReceived"])
    world.harness.app._impersonator = Pretending()
    await world.harness.request("GET", MAPS, headers={"impersonate-user": "bob"})
    await world.harness.request("GET", MAPS, headers={"impersonate-user": "nobody"})
    await world.harness.request("GET", MAPS)
    granted, refused, plain = world.events
    assert granted["user"]["username"] == "tester"
    assert granted["impersonatedUser"] == {"username": "bob"}
    assert granted["authenticationMetadata"] == {"impersonationConstraint": "impersonate:user-info"}
    assert (refused["responseStatus"]["code"], "impersonatedUser" in refused) == (403, False)
    assert not {"impersonatedUser", "authenticationMetadata"} & plain.keys()


class Remarking:
    """Admission with something to say."""

    async def mutate(self, attributes: Attributes) -> None:
        attributes.annotations["who/what"] = attributes.operation

    async def validate(self, attributes: Attributes) -> None:
        pass


async def test_annotations(tmp_path: Path) -> None:
    world = World(tmp_path, {"level": "Metadata"}, admission=Remarking())
    gate = Gate(Chain([Link(Deciding())]), world.harness.clock)
    world.harness.app._authorizer = gate
    patch = {"content-type": "application/merge-patch+json"}
    await world.harness.request("POST", MAPS, body=config_map("a"))
    await world.harness.request("PATCH", f"{MAPS}/a", body={"data": {"k": "w"}}, headers=patch)
    await world.harness.request("DELETE", f"{MAPS}/a")
    await world.harness.request("GET", MAPS)
    await world.harness.request("GET", "/broken")
    complete = [event for event in world.events if event["stage"] == "ResponseComplete"]
    allowed = {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "because"}
    operations = [event["annotations"] for event in complete[:3]]
    assert operations == [{**allowed, "who/what": each} for each in ("CREATE", "UPDATE", "DELETE")]
    assert complete[3]["annotations"] == {
        "authorization.k8s.io/decision": "forbid",
        "authorization.k8s.io/reason": "no",
    }
    assert complete[4]["annotations"] == {"authorization.k8s.io/reason": "internal error"}
    assert complete[4]["responseStatus"]["code"] == 500
    attempts, _ = gate.families()
    counted = {line.partition("=")[2] for line in attempts.lines[2:]}
    assert counted == {'"allowed"} 3', '"denied"} 1', '"error"} 1'}


class Deciding:
    def authorize(self, attributes: Access) -> Decision:
        if attributes.path:
            return Decision(Verdict.NO_OPINION, "", "it is broken")
        return Decision(Verdict.DENY, "no") if attributes.verb == "list" else Decision(Verdict.ALLOW, "because")

    def rules_for(self, user: User, namespace: str) -> UserRules:
        return UserRules()


async def test_the_answer_to_an_authorizer_that_fails_is_text(tmp_path: Path) -> None:
    world = World(tmp_path, {"level": "Metadata"})
    world.harness.app._authorizer = Gate(Chain([Link(Deciding())]), world.harness.clock)
    answer = await world.harness.request("GET", "/broken", query="a=<b>")
    assert answer.status == 500
    assert answer.body == b'Internal Server Error: "/broken?a=&lt;b&gt;": it is broken\n'
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("accept", ["application/yaml", "application/vnd.kubernetes.protobuf"])
async def test_answers_in_any_encoding_are_recorded(tmp_path: Path, accept: str) -> None:
    world = World(tmp_path, {"level": "RequestResponse"}, omitStages=["RequestReceived"])
    await world.harness.request("POST", MAPS, body=config_map("a"), headers={"accept": accept})
    (event,) = world.events
    assert event["responseObject"]["data"] == {"k": "v"}
    assert event["responseObject"]["kind"] == "ConfigMap"


async def test_compressed_answers_are_recorded(tmp_path: Path) -> None:
    world = World(tmp_path, {"level": "RequestResponse"}, omitStages=["RequestReceived"])
    await world.harness.request("POST", MAPS, body=config_map("a", big="x" * 200_000))
    far = Request("GET", MAPS, "", {"accept-encoding": "gzip"}, b"", Peer("192.0.2.9"), MAPS)
    answer = await world.harness.app.handle(far)
    assert answer.headers["content-encoding"] == "gzip"
    assert len(world.events[1]["responseObject"]["items"]) == 1


async def test_what_was_sent(tmp_path: Path) -> None:
    world = World(tmp_path, {"level": "Request"}, omitStages=["RequestReceived"], omitManagedFields=True)
    obj = config_map("a")
    obj["metadata"]["managedFields"] = [{}]
    patch = {"content-type": "application/json-patch+json"}
    await world.harness.request("POST", MAPS, body=obj)
    await world.harness.request("PATCH", f"{MAPS}/a", body=[{"op": "remove", "path": "/data"}], headers=patch)
    await world.harness.request("DELETE", f"{MAPS}/a", body={"propagationPolicy": "Background"})
    create, change, delete = (event["requestObject"] for event in world.events)
    assert (create["kind"], create["metadata"]["name"], "managedFields" in create["metadata"]) == (
        "ConfigMap",
        "a",
        False,
    )
    assert change == [{"op": "remove", "path": "/data"}]
    assert (delete["kind"], delete["propagationPolicy"]) == ("DeleteOptions", "Background")


async def test_an_id_that_the_client_chose(tmp_path: Path) -> None:
    world = World(tmp_path, {"level": "Metadata"})
    answer = await world.harness.request("GET", MAPS, headers={"audit-id": "mine", "user-agent": "x" * 2000})
    event = world.events[0]
    assert answer.headers["audit-id"] == event["auditID"] == "mine"
    assert event["userAgent"] == "x" * 1024 + "...TRUNCATED"
    assert event["stageTimestamp"] == event["requestReceivedTimestamp"]


async def test_a_request_that_must_be_recorded_and_cannot_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, {"level": "Metadata"})
    world.file.close()
    answer = await world.harness.request("GET", MAPS)
    assert answer.status == 500
    assert b"failed to store audit event" in answer.body  # type: ignore[operator]
    assert [line for family in world.auditor.families() for line in family.lines if line[0] != "#"] == [
        "apiserver_audit_event_total 1",
        'apiserver_audit_error_total{plugin="log"} 1',
        'apiserver_audit_level_total{level="Metadata"} 1',
        "apiserver_audit_requests_rejected_total 1",
    ]


def test_which_rule_fits() -> None:
    def level(rule: dict[str, Any], path: str, user: User | None = None) -> str:
        found = policy({"level": "Metadata", **rule})
        return found.decide(user or User("u", groups=("g",)), request_info("GET", path, {})).level

    assert level({"users": ["u"], "userGroups": ["g"], "verbs": ["list"]}, MAPS) == "Metadata"
    assert level({"users": ["v"]}, MAPS) == level({"userGroups": ["h"]}, MAPS) == "None"
    nobody = policy({"level": "Request", "users": [""]}, {"level": "Metadata"})
    assert nobody.decide(None, request_info("GET", MAPS, {})).level == "Metadata"
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
    ("rules", "message"),
    [
        ([], "loaded illegal policy with 0 rules"),
        ([{}], "rules[0].level: Required value"),
        (
            [{"level": "Everything"}],
            'rules[0].level: Unsupported value: "Everything": supported values: "None", "Metadata"',
        ),
        (
            [{"level": "Metadata", "omitStages": ["Later"]}],
            'rules[0].omitStages[0]: Invalid value: "Later": allowed stages are RequestReceived,ResponseStarted,',
        ),
        (
            [{"level": "Metadata", "nonResourceURLs": ["/x"], "namespaces": ["a"]}],
            "rules cannot apply to both regular resources and non-resource URLs",
        ),
        ([{"level": "Metadata", "nonResourceURLs": ["x"]}], "non-resource URL rules must begin with a '/' character"),
        ([{"level": "Metadata", "nonResourceURLs": ["/*/x"]}], "wildcards '*' must be the final character of the rule"),
        ([{"level": "Metadata", "resources": [{"group": "apps/v1"}]}], "rules[0].resources.group: Invalid value"),
        (
            [{"level": "Metadata", "resources": [{"resourceNames": ["a"]}]}],
            "using resourceNames requires at least one resource",
        ),
    ],
)
def test_policies_that_cannot_be(rules: list[Any], message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(*rules)
    assert message in str(caught.value)
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
