"""Discovery in protobuf says what it says in JSON."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pilothouse.api.codec import protobuf
from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.status import NotAcceptable
from pilothouse.api.user import User
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.discovery import Discovery
from pilothouse.apiserver.route import request_info
from pilothouse.kit.http.message import LOCAL_PEER, Request, Response

ALL = ";as=APIGroupDiscoveryList;g=apidiscovery.k8s.io;v=v2"


async def get(path: str, accept: str) -> Response:
    request = Request("GET", path, "", {"accept": accept}, b"", LOCAL_PEER, path)
    call = Call(request, request_info("GET", path, {}), {}, User("alice"))
    return await Discovery(RESOURCES, server_address="192.0.2.1:6443").serve(call)


def set_fields(value: Any) -> Any:
    """A document without the empty values that JSON spells out."""
    if isinstance(value, dict):
        return {key: set_fields(item) for key, item in value.items() if item not in ("", False, None, {}, [])}
    return [set_fields(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/api", ""),
        ("/apis", ""),
        ("/apis/apps", ""),
        ("/api/v1", ""),
        ("/apis/apps/v1", ""),
        ("/api", ALL),
        ("/apis", ALL),
    ],
)
async def test_the_same_in_both(path: str, parameters: str) -> None:
    response = await get(path, f"{protobuf.MEDIA_TYPE}{parameters},application/json")
    assert response.headers["content-type"].startswith(protobuf.MEDIA_TYPE)
    assert isinstance(response.body, bytes)
    in_json = (await get(path, f"application/json{parameters}")).body
    assert isinstance(in_json, bytes)
    assert set_fields(protobuf.decode(response.body)) == set_fields(orjson.loads(in_json))


async def test_the_beta_of_the_whole_is_not_served_any_more() -> None:
    beta = ALL.replace("v2", "v2beta1")
    both = await get("/apis", f"application/json{beta},application/json")
    assert both.headers == {"content-type": "application/json"}
    with pytest.raises(NotAcceptable):
        await get("/apis", f"{protobuf.MEDIA_TYPE}{beta}")
