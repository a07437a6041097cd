"""What the documents say of paths that belong to no kind: discovery, the version, the keys of service accounts. Pure.

Source: apiserver `pkg/endpoints/discovery`, `pkg/server/routes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pilothouse.apiserver.openapi.operations import META, group_words

_JSON = ("application/json",)
_NEGOTIATED = (*_JSON, "application/yaml", "application/vnd.kubernetes.protobuf")


@dataclass(frozen=True, slots=True)
class Root:
    """A path that is read with GET. `document` is the document of OpenAPI 3 that tells of it; an empty `answer` is text."""

    document: str
    path: str
    id: str
    tag: str
    description: str
    answer: str = ""
    consumes: tuple[str, ...] = ()
    produces: tuple[str, ...] = _JSON


_ALWAYS = (
    Root(
        ".well-known/openid-configuration",
        "/.well-known/openid-configuration/",
        "getServiceAccountIssuerOpenIDConfiguration",
        "WellKnown",
        "how to find the keys of service account tokens, as OpenID Connect has it",
    ),
    Root(
        "openid/v1/jwks",
        "/openid/v1/jwks/",
        "getServiceAccountIssuerOpenIDKeyset",
        "openid",
        "the public keys that verify service account tokens",
        produces=("application/jwk-set+json",),
    ),
    Root(
        "version",
        "/version/",
        "getCodeVersion",
        "version",
        "the version of this server",
        "io.k8s.apimachinery.pkg.version.Info",
        _JSON,
    ),
)


def roots(group_versions: Iterable[tuple[str, str]]) -> Iterator[Root]:
    """For a server of these groups and versions."""
    yield from _ALWAYS
    served = sorted(set(group_versions))
    yield _discovery("api", "/api/", "getCoreAPIVersions", "core", "the versions of the core API", "APIVersions")
    yield _discovery("apis", "/apis/", "getAPIVersions", "apis", "the groups of the API", "APIGroupList")
    for group in sorted({group for group, _ in served if group}):
        words = group_words(group)
        said = f"the versions of the group {group}"
        yield _discovery(f"apis/{group}", f"/apis/{group}/", f"get{words}APIGroup", _lower(words), said, "APIGroup")
    for group, version in served:
        document = f"apis/{group}/{version}" if group else f"api/{version}"
        words = group_words(group)
        yield _discovery(
            document,
            f"/{document}/",
            f"get{words}{version.title()}APIResources",
            f"{_lower(words)}_{version}",
            f"the resources of {document.partition('/')[2]}",
            "APIResourceList",
        )


def _discovery(document: str, path: str, id_: str, tag: str, description: str, answer: str) -> Root:
    return Root(document, path, id_, tag, description, f"{META}{answer}", _NEGOTIATED, _NEGOTIATED)


def _lower(words: str) -> str:
    return f"{words[:1].lower()}{words[1:]}"
