"""Which credentials of a pod's image pull secrets fit an image. Pure.

Secrets are of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg; keys of their `auths` may have globs in each part of
the host and a path that must be a prefix. Source: "Pull an Image from a Private Registry", the documentation of container images.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import orjson

from pilothouse.kubelet.runtime.specs import Credentials

_DEFAULT_HOSTS = ("docker.io", "index.docker.io", "registry-1.docker.io")


def repository_of(image: str) -> str:
    """`host/path` of an image reference, without tag and digest; Docker's defaults filled in."""
    name = image.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    path = f"{head}{slash}{tail.partition(':')[0]}"
    first, slash, _ = path.partition("/")
    if not slash:
        return f"docker.io/library/{path}"
    if "." in first or ":" in first or first == "localhost":
        return path
    return f"docker.io/{path}"


def with_default_tag(image: str) -> str:
    """`busybox` → `busybox:latest`. Raises ValueError if it is no image reference."""
    name, _, digest = image.partition("@")
    tail = name.rpartition("/")[2]
    repository, colon, tag = tail.partition(":")
    if not repository or image != image.strip() or any(c.isspace() or c.isupper() for c in repository) or "@" in digest:
        raise ValueError("invalid reference format")
    if (colon and not tag) or name.startswith(("/", "-")):
        raise ValueError("invalid reference format")
    return image if digest or tag else f"{image}:latest"


def fitting(image: str, secrets: Iterable[Mapping[str, Any]]) -> list[Credentials]:
    """The credentials to try for `image`, the most specific first; `secrets` are Secret objects."""
    repository = repository_of(image)
    entries = [(key, auth) for secret in secrets for key, auth in _entries(secret) if _matches(key, repository)]
    entries.sort(key=lambda entry: entry[0], reverse=True)
    return [_credentials(auth) for _, auth in entries]


def _entries(secret: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, str]]]:
    data = secret.get("data") or {}
    try:
        if ".dockerconfigjson" in data:
            auths = orjson.loads(base64.b64decode(data[".dockerconfigjson"])).get("auths") or {}
        elif ".dockercfg" in data:
            auths = orjson.loads(base64.b64decode(data[".dockercfg"]))
        else:
            return
    except (binascii.Error, orjson.JSONDecodeError, AttributeError):
        return
    yield from auths.items()


def _matches(key: str, repository: str) -> bool:
    key = key.partition("://")[2] or key
    key_host, _, key_path = key.partition("/")
    host, _, path = repository.partition("/")
    key_path = key_path.removesuffix("/")
    if key_host in _DEFAULT_HOSTS and host in _DEFAULT_HOSTS:
        return key_path in ("", "v1", "v2") or path.startswith(key_path)
    if key_path in ("v1", "v2"):
        key_path = ""
    key_name, _, key_port = key_host.partition(":")
    name, _, port = host.partition(":")
    key_parts, parts = key_name.split("."), name.split(".")
    if len(key_parts) != len(parts) or key_port != port:
        return False
    return all(map(fnmatchcase, parts, key_parts)) and path.startswith(key_path)


def _credentials(auth: Mapping[str, str]) -> Credentials:
    username, password = auth.get("username", ""), auth.get("password", "")
    if not username and auth.get("auth"):
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            username, _, password = base64.b64decode(auth["auth"]).decode().partition(":")
    return Credentials(
        username=username,
        password=password,
        identity_token=auth.get("identitytoken", ""),
        registry_token=auth.get("registrytoken", ""),
    )
