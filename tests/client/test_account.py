"""Requests in the name of ServiceAccounts."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import pytest

from pilothouse.api import status
from pilothouse.api.gvr import PODS
from pilothouse.api.meta import format_time
from pilothouse.client.account import Accounts
from pilothouse.client.client import Client
from pilothouse.client.inprocess import InProcessTransport
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.http.message import Request, Response


class Issuer:
    """Issues numbered tokens that are good for an hour, and serves those who show a good one."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.accounts: set[str] = set()
        self.tokens: dict[str, str] = {}
        self.log: list[str] = []

    async def app(self, request: Request) -> Response:
        self.log.append(f"{request.method} {request.path}")
        parts = request.path.split("/")
        if parts[-1] == "token":
            if parts[-2] not in self.accounts:
                return failure(status.not_found("serviceaccounts", "", parts[-2]))
            token = f"t{len(self.tokens) + 1}"
            self.tokens[token] = parts[-2]
            expires = format_time(self.clock.now() + 3600)
            return answer({"status": {"token": token, "expirationTimestamp": expires}})
        if parts[-1] == "serviceaccounts":
            self.accounts.add(orjson.loads(request.body)["metadata"]["name"])
            return answer({})
        who = self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if who is None:
            return failure(status.Unauthorized("Unauthorized"))
        return answer({"metadata": {"name": who}})


def answer(body: Mapping[str, object]) -> Response:
    return Response(200, {}, orjson.dumps(body))


def failure(error: status.StatusError) -> Response:
    return Response(error.status_code, {}, orjson.dumps(error.to_object()))


async def who(client: Client) -> str:
    found: str = (await client.get(PODS, "default", "p"))["metadata"]["name"]
    return found


async def test_an_account_is_made_and_its_token_kept_until_it_is_old_or_refused() -> None:
    clock = VirtualClock()
    issuer = Issuer(clock)
    accounts = Accounts(Client(InProcessTransport(issuer.app)), InProcessTransport(issuer.app), clock)
    one = accounts("deployment-controller")
    assert one is accounts("deployment-controller")
    assert await who(one) == "deployment-controller"
    assert await who(accounts("namespace-controller")) == "namespace-controller"
    assert await who(one) == "deployment-controller"
    assert len(issuer.tokens) == 2
    await clock.advance(3000)
    await who(one)
    assert len(issuer.tokens) == 3
    del issuer.tokens["t3"]
    issuer.tokens["spare"] = ""
    assert await who(one) == "deployment-controller"


async def test_an_account_that_may_not_be_had_is_told_of() -> None:
    async def app(request: Request) -> Response:
        return failure(status.Forbidden("no"))

    transport = InProcessTransport(app)
    accounts = Accounts(Client(transport), transport, VirtualClock())
    with pytest.raises(status.Forbidden):
        await who(accounts("deployment-controller"))
