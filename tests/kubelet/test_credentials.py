from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pilothouse.kubelet.credentials import fitting, repository_of, with_default_tag


def secret(**auths: dict[str, str]) -> dict[str, Any]:
    text = json.dumps({"auths": auths})
    return {"data": {".dockerconfigjson": base64.b64encode(text.encode()).decode()}}


def users(image: str, *keys: str) -> list[str]:
    return [c.username for c in fitting(image, [secret(**{key: {"username": key, "password": "p"} for key in keys})])]


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        ("busybox", "docker.io/library/busybox"),
        ("me/app:1", "docker.io/me/app"),
        ("example.com:5000/a/b:1", "example.com:5000/a/b"),
        ("localhost/a@sha256:12", "localhost/a"),
    ],
)
def test_repositories(image: str, repository: str) -> None:
    assert repository_of(image) == repository


def test_default_tags() -> None:
    assert with_default_tag("busybox") == "busybox:latest"
    assert with_default_tag("localhost:5000/a") == "localhost:5000/a:latest"
    assert with_default_tag("a:1") == "a:1"
    assert with_default_tag("a@sha256:12") == "a@sha256:12"


@pytest.mark.parametrize("image", ["", "a b", "UPPER", "a:", "/a", " a", "example.com/"])
def test_what_is_no_reference(image: str) -> None:
    with pytest.raises(ValueError, match="invalid reference format"):
        with_default_tag(image)


def test_keys_match_hosts_globs_and_paths() -> None:
    assert users("example.com/team/app:1", "example.com", "other.com") == ["example.com"]
    assert users("example.com/team/app:1", "https://example.com/v1/") == ["https://example.com/v1/"]
    assert users("a.example.com/app", "*.example.com") == ["*.example.com"]
    assert users("a.b.example.com/app", "*.example.com") == []
    assert users("example.com:5000/app", "example.com") == []
    assert users("example.com/team/app", "example.com/other") == []
    assert users("busybox", "https://index.docker.io/v1/") == ["https://index.docker.io/v1/"]


def test_the_most_specific_key_comes_first() -> None:
    assert users("example.com/team/app", "example.com", "example.com/team") == ["example.com/team", "example.com"]


def test_broken_secrets_fit_nothing() -> None:
    for data in ({}, {".dockerconfigjson": "%%%"}, {".dockerconfigjson": base64.b64encode(b"[]").decode()}):
        assert fitting("example.com/a", [{"data": data}]) == []


def test_the_auth_field_is_decoded() -> None:
    auth = base64.b64encode(b"me:pass:word").decode()
    found = fitting("example.com/a", [secret(**{"example.com": {"auth": auth}})])[0]
    assert (found.username, found.password) == ("me", "pass:word")
