"""Warnings of files of one volume that are in each other's way. Source: upstream `pkg/api/pod/warnings.go`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from pilothouse.kit.remembered import remembered

View = Mapping[str, Any]


class _File(NamedTuple):
    path: str
    source: str = ""

    def __str__(self) -> str:
        return f'"{self.path}" ({self.source})' if self.source else f'"{self.path}"'


def of_overlaps(volumes: Sequence[View]) -> Iterator[str]:
    for volume in volumes:
        name = volume.get("name", "")
        for field, of in (("configMap", "name"), ("secret", "secretName"), ("downwardAPI", "")):
            source = volume.get(field)
            if source and len(items := source.get("items") or ()) > 1:
                what = f"{_KINDS[field]} {_quoted(source.get(of, ''))}" if of else _KINDS[field]
                yield from _overlaps(_files(items), f'volume "{name}" ({what}): overlapping paths')
        if projected := volume.get("projected"):
            for text in _of_projection(orjson.dumps(projected).decode()):
                yield f'volume "{name}" (Projected){text}'


@remembered(64)
def _of_projection(projected: str) -> Sequence[str]:
    """What is doubtful about a projection, in JSON: nearly every pod has the same, that of its service account's token."""
    found: list[str] = []
    files: list[_File] = []
    for source in orjson.loads(projected).get("sources") or ():
        if not source:
            found.append(" has no sources provided")
        files += _projected(source)
    return (*found, *_overlaps(files, ": overlapping paths"))


_KINDS = {"configMap": "ConfigMap", "secret": "Secret", "downwardAPI": "DownwardAPI"}


def _quoted(name: str) -> str:
    return f'"{name}"'


def _files(items: Iterable[View], source: str = "") -> list[_File]:
    return [_File(item.get("path", "").rstrip("/"), source) for item in items]


def _projected(source: View) -> list[_File]:
    for field in ("configMap", "secret", "downwardAPI"):
        one = source.get(field)
        if one is not None and one.get("items"):
            name = "" if field == "downwardAPI" else f" {_quoted(one.get('name', ''))}"
            return _files(one["items"], f"{_KINDS[field]}{name}")
    if (token := source.get("serviceAccountToken")) is not None:
        return _files([token], "ServiceAccountToken")
    if (bundle := source.get("clusterTrustBundle")) is not None:
        return _files([bundle], f"ClusterTrustBundle {_quoted(bundle.get('name', bundle.get('signerName', '')))}")
    certificate = source.get("podCertificate") or {}
    parts = (("certificateChainPath", "chain"), ("keyPath", "key"), ("credentialBundlePath", "credential bundle"))
    return [
        _File(path.rstrip("/"), f"PodCertificate {what}") for field, what in parts if (path := certificate.get(field))
    ]


def _overlaps(files: Sequence[_File], what: str) -> Iterator[str]:
    for i, file in enumerate(files):
        if not file.path:
            continue
        for other in files[:i]:
            one, two = f"{file.path}/", f"{other.path}/"
            if other.path and (one.startswith(two) or two.startswith(one)):
                yield f"{what}: {file} with {other}"
