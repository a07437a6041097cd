"""Who may ask the kubelet what."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.api.meta import NodeName
from pilothouse.client.client import Client
from pilothouse.kit import certificate
from pilothouse.kit.clock import SystemClock, VirtualClock
from pilothouse.kit.http.message import Peer, Request
from pilothouse.kit.pki import Authority, Certificate, Pki
from pilothouse.kubelet.server.access import ALLOWED_S, DENIED_S, Access, subresources
from pilothouse.kubelet.server.refusal import Refused
from tests.kubelet.server.reviews import Reviews


class Gate:
    def __init__(self, *, anonymous_auth: bool = False, always_allow: bool = False) -> None:
        self.reviews = Reviews()
        self.clock = VirtualClock()
        self.access = Access(
            Client(self.reviews),
            NodeName("n1"),
            self.clock,
            anonymous_auth=anonymous_auth,
            always_allow=always_allow,
        )

    async def code(
        self, path: str = "/pods", *, method: str = "GET", token: str = "", certificate: bytes | None = None
    ) -> int:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        request = Request(method, path, "", headers, b"", Peer("127.0.0.1", certificate, True))
        try:
            await self.access.check(request)
        except Refused as refused:
            self.text = str(refused)
            return refused.code
        return 200


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/pods", ("pods", "proxy")),
        ("/pods/", ("pods", "proxy")),
        ("/runningpods/", ("pods", "proxy")),
        ("/healthz/ping", ("healthz", "proxy")),
        ("/configz", ("configz", "proxy")),
        ("/stats/summary", ("stats",)),
        ("/metrics", ("metrics",)),
        ("/metrics/cadvisor", ("metrics",)),
        ("/logs/syslog", ("log",)),
        ("/exec/a/b/c", ("proxy",)),
        ("/metricsx", ("proxy",)),
        ("/", ("proxy",)),
    ],
)
def test_paths_are_subresources_of_the_node(path: str, names: tuple[str, ...]) -> None:
    assert subresources(path) == names


async def test_without_credentials_nobody_passes() -> None:
    gate = Gate()
    assert await gate.code() == 401
    assert gate.text == "Unauthorized"
    assert gate.reviews.asked == []


async def test_anonymous_requests_are_reviewed_where_they_are_let_in() -> None:
    gate = Gate(anonymous_auth=True)
    assert await gate.code() == 403
    gate = Gate(anonymous_auth=True)
    gate.reviews.allowed.add(("system:anonymous", "get", "proxy"))
    assert await gate.code() == 200


async def test_an_unknown_token_is_refused_for_a_while_without_asking_again() -> None:
    gate = Gate()
    assert await gate.code(token="x") == 401
    gate.reviews.tokens["x"] = {"username": "u"}
    gate.reviews.allowed.add(("u", "get", "pods"))
    assert await gate.code(token="x") == 401
    await gate.clock.advance(DENIED_S)
    assert await gate.code(token="x") == 200


async def test_a_user_is_reviewed_once_and_named_when_refused() -> None:
    gate = Gate()
    gate.reviews.tokens["x"] = {"username": "u", "groups": ["g"], "extra": {"k": ["v"]}}
    assert await gate.code(token="x") == 403
    assert gate.text == "Forbidden (user=u, verb=get, resource=nodes, subresource(s)=[pods proxy])\n"
    spec = gate.reviews.asked[-1]["spec"]
    assert (spec["groups"], spec["extra"], spec["resourceAttributes"]["name"]) == (["g"], {"k": ["v"]}, "n1")
    count = len(gate.reviews.asked)
    assert await gate.code(token="x") == 403
    assert len(gate.reviews.asked) == count


async def test_permissions_are_remembered_for_five_minutes() -> None:
    gate = Gate()
    gate.reviews.tokens["x"] = {"username": "u"}
    gate.reviews.allowed.add(("u", "create", "proxy"))
    assert await gate.code("/exec/a/b/c", method="POST", token="x") == 200
    gate.reviews.allowed.clear()
    assert await gate.code("/exec/a/b/c", method="POST", token="x") == 200
    assert await gate.code("/exec/a/b/c", method="GET", token="x") == 403
    await gate.clock.advance(ALLOWED_S)
    assert await gate.code("/exec/a/b/c", method="POST", token="x") == 403


async def test_without_the_api_server_what_is_not_known_is_refused() -> None:
    gate = Gate()
    gate.reviews.tokens["x"] = {"username": "u"}
    gate.reviews.allowed.add(("u", "get", "stats"))
    assert await gate.code("/stats/summary", token="x") == 200
    gate.reviews.is_down = True
    assert await gate.code("/stats/summary", token="x") == 200
    assert await gate.code("/metrics", token="x") == 500
    assert gate.text == "Authorization error (user=u, verb=get, resource=nodes, subresource=metrics)"
    assert await gate.code("/stats/summary", token="y") == 401


async def test_always_allow_still_wants_to_know_who_asks() -> None:
    gate = Gate(always_allow=True)
    assert await gate.code() == 401
    gate.reviews.tokens["x"] = {"username": "u"}
    assert await gate.code(token="x") == 200


async def test_a_certificate_names_its_user_until_it_expires(tmp_path: Path) -> None:
    pki = Pki(tmp_path, SystemClock())
    pki.ensure((Authority("ca", "ca"), Certificate("c", "alice", organizations=("admins",))))
    (der,) = certificate.pem_blocks(pki.certificate_path("c").read_bytes())
    gate = Gate()
    facts = certificate.read(der)
    await gate.clock.advance(facts.not_before + 60 - gate.clock.now())
    gate.reviews.allowed.add(("alice", "get", "proxy"))
    assert await gate.code(certificate=der) == 200
    assert gate.reviews.asked[-1]["spec"]["groups"] == ["admins", "system:authenticated"]
    await gate.clock.advance(facts.not_after + 1 - gate.clock.now())
    assert await gate.code(certificate=der) == 401
