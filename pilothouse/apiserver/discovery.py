"""What the API serves, for clients that ask: groups, versions, resources; one by one and all at once.

Documents are made once and served by ETag. Source: apiserver `pkg/endpoints/discovery`, KEP-3352 (aggregated discovery).
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from pilothouse.api.gvr import GVR
from pilothouse.api.meta import Object
from pilothouse.api.resource import Resource, Subresource
from pilothouse.apiserver.aggregation.discovered import RemoteVersion, groups_of
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.errors import could_not_find, method_not_allowed, not_acceptable, page_not_found
from pilothouse.apiserver.negotiate import ACCEPTED, JSON, PROTOBUF, YAML, check_representation, wishes
from pilothouse.apiserver.present import body_response
from pilothouse.kit.http.message import Response

if TYPE_CHECKING:
    from pilothouse.apiserver.crd.kinds import CustomKind

_FIRST_GROUPS = ("apiregistration.k8s.io", "apps", "events.k8s.io")
"""Groups that come before the others, which stand in the order of their kinds."""
_MEDIA_TYPES = {JSON: JSON, "application/*": JSON, "*/*": JSON, YAML: YAML, PROTOBUF: PROTOBUF}
_VERSION = "v2"
"""Of the document that has everything. Upstream serves v2beta1 no longer."""
_STAGES = {"": 2, "beta": 1, "alpha": 0}
_parse_version = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?").fullmatch


class Discovery:
    """The documents under `/api` and `/apis` for a set of kinds."""

    def __init__(self, resources: Sequence[Resource], *, server_address: str) -> None:
        self._resources = tuple(resources)
        self._own_groups = frozenset(resource.gvr.group for resource in self._resources)
        self._server_address = server_address
        self._custom: Sequence[Resource] = ()
        self._remote: Sequence[RemoteVersion] = ()
        self._documents: dict[str, _Document] = {}
        self._is_described = False

    def serve_custom(self, kinds: Sequence[CustomKind]) -> None:
        """Name `kinds`, and only these, beside those that are always there."""
        self._custom = sorted((kind.resource for kind in kinds), key=lambda resource: resource.gvr.group)
        self._is_described = False

    def serve_remote(self, versions: Sequence[RemoteVersion]) -> None:
        """Name what other servers serve, and only that, beside this server's own."""
        self._remote = tuple(versions)
        self._is_described = False

    def _describe(self) -> None:
        resources = (*self._resources, *self._custom)
        self._is_described = True
        served = [(gvr, resource) for resource in resources for gvr in resource.served]
        groups: dict[str, dict[str, list[tuple[GVR, Resource]]]] = {}
        for gvr, resource in served:
            groups.setdefault(gvr.group, {}).setdefault(gvr.version, []).append((gvr, resource))
        ordered = {
            group: {
                version: sorted(versions[version], key=lambda each: each[0].plural)
                for version in _by_preference(versions)
            }
            for group, versions in groups.items()
        }
        self._documents = {}
        ordered = {group: ordered[group] for group in sorted(ordered, key=_group_rank)}
        core = {"": ordered.pop("", {})}
        self._add(
            "/api",
            {
                "kind": "APIVersions",
                "versions": list(core[""]),
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._server_address}],
            },
            core,
        )
        remote = {name: versions for name, versions in groups_of(self._remote).items() if name}
        names = {
            name: [*ordered.get(name, ()), *(each.version for each in remote.get(name, ()))]
            for name in (*ordered, *(name for name in remote if name not in ordered))
        }
        self._add(
            "/apis",
            {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name, names[name]) for name in names]},
            ordered,
            remote,
        )
        for name, listed in names.items():
            self._add(f"/apis/{name}", {"kind": "APIGroup", "apiVersion": "v1", **_group(name, listed)})
        for versions in (*core.values(), *ordered.values()):
            for members in versions.values():
                api_version = members[0][0].api_version
                prefix = "/apis" if "/" in api_version else "/api"
                self._add(f"{prefix}/{api_version}", _resource_list(api_version, members))

    @property
    def paths(self) -> Sequence[str]:
        self._described()
        return tuple(self._documents)

    async def serve(self, call: Call) -> Response:
        """Answer one of `paths`, or a path below `/apis/`. Raises NotAcceptable, NotFound, MethodNotAllowed."""
        path = call.info.path.rstrip("/")
        request = call.request
        document = self._described().get(path)
        if document is None:
            if path.startswith("/api/") or path.split("/")[2] in self._own_groups:
                raise could_not_find()
            return page_not_found()
        is_routed = path == "/api" or path.count("/") != 2
        if is_routed and request.method != "GET":
            raise method_not_allowed()
        if is_routed and path != "/apis":
            check_representation(request.headers.get("accept") or JSON, ACCEPTED)
        body, etag, content_type = document.choose(request.headers.get("accept", ""))
        headers = {"content-type": content_type}
        if etag:
            headers["vary"] = "Accept"
            headers["cache-control"] = "public"
            headers["etag"] = etag
            if request.headers.get("if-none-match") == etag:
                return Response(304, headers)
        return Response(200, headers, body)

    async def index(self, call: Call, others: Iterable[str]) -> Response:
        """All paths: the documents' and `others`."""
        return body_response(call, 200, orjson.dumps({"paths": sorted({*self.paths, *others})}))

    def _described(self) -> Mapping[str, _Document]:
        """The documents, made anew if what is served has changed since."""
        if not self._is_described:
            self._describe()
        return self._documents

    def _add(
        self,
        path: str,
        legacy: Object,
        groups: Mapping[str, Mapping[str, Sequence[tuple[GVR, Resource]]]] | None = None,
        remote: Mapping[str, Sequence[RemoteVersion]] | None = None,
    ) -> None:
        self._documents[path] = _Document(legacy, groups, remote or {})


class _Document:
    """One path's document, in each form in which it can be asked for; encoded when first asked for."""

    def __init__(
        self,
        legacy: Object,
        groups: Mapping[str, Mapping[str, Sequence[tuple[GVR, Resource]]]] | None,
        remote: Mapping[str, Sequence[RemoteVersion]],
    ) -> None:
        self._legacy = legacy
        self._groups = groups
        self._remote = remote
        self._encoded: dict[tuple[str, str], tuple[bytes, str, str]] = {}

    def choose(self, accept: str) -> tuple[bytes, str, str]:
        """Body, ETag (empty for the forms that have none) and Content-Type of the first acceptable form."""
        for media_range, named in wishes(accept or JSON):
            media_type = _MEDIA_TYPES.get(media_range)
            if media_type is None:
                continue
            wanted = named.get("as", "")
            if not wanted:
                return self._form(media_type, "")
            if wanted != "APIGroupDiscoveryList":
                continue
            version = named.get("v", "")
            if self._groups is not None and named.get("g") == "apidiscovery.k8s.io" and version == _VERSION:
                return self._form(media_type, version)
        raise not_acceptable(ACCEPTED)

    def _form(self, media_type: str, version: str) -> tuple[bytes, str, str]:
        form = self._encoded.get((media_type, version))
        if form is None:
            form = self._encode(version) if media_type == JSON else self._translate(media_type, version)
            self._encoded[media_type, version] = form
        return form

    def _translate(self, media_type: str, version: str) -> tuple[bytes, str, str]:
        """The same as protobuf or YAML."""
        body, etag, content_type = self._form(JSON, version)
        if media_type == YAML:
            from pilothouse.apiserver import yaml

            return yaml.dump(orjson.loads(body)), etag, content_type.replace(JSON, YAML)
        from pilothouse.api.codec import protobuf

        return protobuf.encode(orjson.loads(body)), etag, content_type.replace(JSON, PROTOBUF)

    def _encode(self, version: str) -> tuple[bytes, str, str]:
        if not version:
            return orjson.dumps(self._legacy, option=orjson.OPT_APPEND_NEWLINE), "", JSON
        assert self._groups is not None
        items = {name: _discovered_group(name, versions) for name, versions in self._groups.items()}
        for name, versions in self._remote.items():
            group = items.setdefault(name, {"metadata": {"name": name}, "versions": []})
            group["versions"] += (each.discovered() for each in versions)
        body = orjson.dumps(
            {
                "kind": "APIGroupDiscoveryList",
                "apiVersion": f"apidiscovery.k8s.io/{version}",
                "metadata": {},
                "items": list(items.values()),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        etag = f'"{hashlib.sha512(body).hexdigest().upper()}"'
        return body, etag, f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


def _by_preference(versions: Mapping[str, Any]) -> list[str]:
    """Stable before beta before alpha; higher numbers first."""

    def rank(version: str) -> tuple[int, int, int]:
        match = _parse_version(version)
        if match is None:
            return (-1, 0, 0)
        major, stage, minor = match.groups()
        return (_STAGES[stage or ""], int(major), int(minor or 0))

    return sorted(versions, key=rank, reverse=True)


def _group_rank(group: str) -> int:
    return _FIRST_GROUPS.index(group) if group in _FIRST_GROUPS else len(_FIRST_GROUPS)


def _group(name: str, versions: Iterable[str]) -> Object:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _resource_list(api_version: str, members: Sequence[tuple[GVR, Resource]]) -> Object:
    entries: list[Object] = []
    for gvr, resource in members:
        entry: Object = {
            "name": gvr.plural,
            "singularName": resource.singular_name,
            "namespaced": gvr.namespaced,
            "kind": gvr.kind,
            "verbs": list(resource.verbs),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        if resource.is_stored and "create" in resource.verbs:
            entry["storageVersionHash"] = storage_version_hash(resource.stored_gvr)
        entries.append(entry)
        entries += (_subresource_entry(gvr, subresource) for subresource in _listed(resource))
    listed: Object = {"kind": "APIResourceList", "groupVersion": api_version, "resources": entries}
    if "/" in api_version:
        # The core group's list has none: clients of its first days did not know the field.
        listed["apiVersion"] = "v1"
    return listed


def _subresource_entry(gvr: GVR, subresource: Subresource) -> Object:
    entry: Object = {
        "name": f"{gvr.plural}/{subresource.name}",
        "singularName": "",
        "namespaced": gvr.namespaced,
        "kind": subresource.kind or gvr.kind,
        "verbs": list(subresource.verbs),
    }
    if subresource.kind and (subresource.group, subresource.version) != (gvr.group, gvr.version):
        entry["group"] = subresource.group
        entry["version"] = subresource.version
    return entry


def _discovered_group(name: str, versions: Mapping[str, Sequence[tuple[GVR, Resource]]]) -> Object:
    return {
        "metadata": {"name": name} if name else {},
        "versions": [
            {
                "version": version,
                "resources": [_discovered(gvr, resource) for gvr, resource in members],
                "freshness": "Current",
            }
            for version, members in versions.items()
        ],
    }


def _discovered(gvr: GVR, resource: Resource) -> Object:
    entry: Object = {
        "resource": gvr.plural,
        "responseKind": _own_kind(resource, gvr),
        "scope": "Namespaced" if gvr.namespaced else "Cluster",
        "singularResource": resource.singular_name,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {
                "subresource": subresource.name,
                "responseKind": _response_kind(resource, gvr, subresource),
                "verbs": list(subresource.verbs),
            }
            for subresource in _listed(resource)
        ]
    return entry


def _own_kind(resource: Resource, gvr: GVR) -> Object:
    """Upstream leaves out group and version of a built-in kind, which are those of the list."""
    if resource.merges_strategically:
        return {"group": "", "version": "", "kind": gvr.kind}
    return {"group": gvr.group, "version": gvr.version, "kind": gvr.kind}


def _response_kind(resource: Resource, gvr: GVR, subresource: Subresource) -> Object:
    if subresource.kind and (subresource.group, subresource.version) != (gvr.group, gvr.version):
        return {"group": subresource.group, "version": subresource.version, "kind": subresource.kind}
    return {**_own_kind(resource, gvr), "kind": subresource.kind or gvr.kind}


def _sorted(subresources: Sequence[Subresource]) -> Sequence[Subresource]:
    return sorted(subresources, key=lambda subresource: subresource.name)


def _listed(resource: Resource) -> Sequence[Subresource]:
    """In the order of discovery: by name, but for custom kinds the status first."""
    ordered = _sorted(resource.subresources)
    return ordered if resource.merges_strategically else ordered[::-1]


def storage_version_hash(gvr: GVR) -> str:
    digest = hashlib.sha256(f"{gvr.group}/{gvr.version}/{gvr.kind}".encode()).digest()
    return b64encode(digest[:8]).decode()
