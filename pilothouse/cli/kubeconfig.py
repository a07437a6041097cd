"""The user's own kubeconfig: Pilothouse adds its context to it and takes it out again; all else in it stays as it was."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONTEXT = "pilothouse"
SECTIONS = ("clusters", "contexts", "users")


class KubeconfigUnusable(Exception):
    """The file is not a kubeconfig, and was left alone; the message says what to do."""


def default_path() -> Path:
    """The first file of `$KUBECONFIG`, or `~/.kube/config`."""
    first = next((part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part), None)
    return Path(first) if first else Path.home() / ".kube" / "config"


def merged(existing: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """`existing` with the entries of `ours` added, or put in the place of those of the same name, and its context made current."""
    result = {"apiVersion": "v1", "kind": "Config", **existing}
    for section in SECTIONS:
        result[section] = [*_without(existing.get(section), _names(ours[section])), *ours[section]]
    result["current-context"] = ours["current-context"]
    return result


def removed(existing: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """`existing` without the entries of `ours`; as it is, if those of that name are another cluster's."""
    result = dict(existing)
    if not _authorities(existing, ours) <= _authorities(ours, ours):
        return result
    for section in SECTIONS:
        if section in result:
            result[section] = _without(result[section], _names(ours[section]))
    if result.get("current-context") == ours["current-context"]:
        result["current-context"] = ""
    return result


def add(path: Path, ours: Mapping[str, Any]) -> None:
    """Merge `ours` into the file at `path`, which gets mode 0600. Raises KubeconfigUnusable, OSError."""
    existing = _read(path)
    updated = merged(existing, ours)
    if updated != existing or path.stat().st_mode & 0o077:
        _write(path, updated)


def remove(path: Path, ours: Mapping[str, Any]) -> None:
    """Take the entries of `ours` out of the file at `path`, if it is there. Raises KubeconfigUnusable, OSError."""
    if path.exists():
        existing = _read(path)
        updated = removed(existing, ours)
        if updated != existing:
            _write(path, updated)


def _names(entries: Sequence[Mapping[str, Any]]) -> set[str]:
    return {entry["name"] for entry in entries}


def _authorities(config: Mapping[str, Any], ours: Mapping[str, Any]) -> set[str]:
    """Who vouches for the clusters in `config` that are called as those of `ours`: a cluster keeps its authority for life."""
    names = _names(ours["clusters"])
    entries = (entry for entry in config.get("clusters") or () if entry.get("name") in names)
    return {str((entry.get("cluster") or {}).get("certificate-authority-data", "")) for entry in entries}


def _without(entries: Sequence[Mapping[str, Any]] | None, names: set[str]) -> list[Mapping[str, Any]]:
    return [entry for entry in entries or () if entry.get("name") not in names]


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    try:
        content = yaml.load(text, yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise KubeconfigUnusable(f"{path} is not YAML and was left alone; correct it and run this again") from error
    if content is None:
        return {}
    sections = content.get("clusters") if isinstance(content, dict) else content
    if not isinstance(content, dict) or not isinstance(sections, list | None):
        raise KubeconfigUnusable(f"{path} is not a kubeconfig and was left alone; correct it and run this again")
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    import yaml

    path = path.resolve()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.pilothouse")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        yaml.dump(content, file, Dumper=yaml.CSafeDumper, sort_keys=False)
    if path.exists() and os.geteuid() == 0:
        owner = path.stat()
        os.chown(temporary, owner.st_uid, owner.st_gid)
    temporary.replace(path)
