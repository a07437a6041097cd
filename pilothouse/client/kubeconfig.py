"""Reading kubeconfig files. Source: client-go `tools/clientcmd/api/v1`.

Ways to authenticate that are not supported are refused, by name, rather than ignored.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pilothouse.client.client import Client
from pilothouse.client.socket import Endpoint, SocketTransport

UNSUPPORTED_USER_FIELDS = ("exec", "auth-provider", "username", "password")


class KubeconfigError(Exception):
    """The file cannot be used; the message names it and says why."""


def load(path: Path | str, *, context: str = "", user_agent: str = "pilothouse") -> Client:
    """A client for a context of the file at `path`; the current one if none is named. Raises KubeconfigError."""
    return Client(SocketTransport(endpoint(path, context=context)), user_agent=user_agent)


def endpoint(path: Path | str, *, context: str = "") -> Endpoint:
    """Where a context leads, and as whom. Relative paths in the file are relative to it. Raises KubeconfigError."""
    path = Path(path)
    config = _read(path)
    context = context or config.get("current-context") or ""
    if not context:
        raise KubeconfigError(f"{path}: no context is named and there is no current-context")
    chosen = _named(path, config, "contexts", "context", context)
    cluster = _named(path, config, "clusters", "cluster", chosen.get("cluster") or "")
    user = _named(path, config, "users", "user", chosen["user"]) if chosen.get("user") else {}
    for field in UNSUPPORTED_USER_FIELDS:
        if user.get(field):
            raise KubeconfigError(
                f"{path}: user {chosen['user']}: {field} is not supported; use a certificate or a token"
            )
    if cluster.get("proxy-url"):
        raise KubeconfigError(f"{path}: cluster {chosen['cluster']}: proxy-url is not supported; use a direct address")
    if not cluster.get("server"):
        raise KubeconfigError(f"{path}: cluster {chosen['cluster']}: server is missing")
    return Endpoint(
        url=str(cluster["server"]),
        ca=_material(path, cluster, "certificate-authority"),
        certificate=_material(path, user, "client-certificate"),
        key=_material(path, user, "client-key"),
        token=str(user.get("token") or ""),
        token_file=path.parent / user["tokenFile"] if user.get("tokenFile") else None,
        server_name=str(cluster.get("tls-server-name") or ""),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        headers=_impersonation(user),
    )


def namespace(path: Path | str, *, context: str = "") -> str:
    """The namespace of a context; `default` if it has none. Raises KubeconfigError."""
    path = Path(path)
    config = _read(path)
    name = context or config.get("current-context") or ""
    return str(_named(path, config, "contexts", "context", name).get("namespace") or "default")


def _read(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        config = yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise KubeconfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise KubeconfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(config, dict) or config.get("kind", "Config") != "Config":
        raise KubeconfigError(f"{path}: not a kubeconfig: kind Config is expected")
    return config


def _named(path: Path, config: Mapping[str, Any], section: str, field: str, name: str) -> Mapping[str, Any]:
    for entry in config.get(section) or ():
        if isinstance(entry, dict) and entry.get("name") == name:
            found = entry.get(field) or {}
            if isinstance(found, dict):
                return found
    raise KubeconfigError(f'{path}: there is no {field} named "{name}"')


def _material(path: Path, section: Mapping[str, Any], field: str) -> Path | bytes | None:
    """PEM data given inline, which takes precedence, or the file that has it."""
    if data := section.get(f"{field}-data"):
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise KubeconfigError(f"{path}: {field}-data is not base64") from error
    if file := section.get(field):
        return path.parent / str(file)
    return None


def _impersonation(user: Mapping[str, Any]) -> Mapping[str, str]:
    headers = {}
    if user.get("as"):
        headers["impersonate-user"] = str(user["as"])
    if user.get("as-uid"):
        headers["impersonate-uid"] = str(user["as-uid"])
    for field in ("as-groups", "as-user-extra"):
        if user.get(field):
            raise KubeconfigError(f"{field} is not supported: a repeated header cannot be sent")
    return headers
