"""Groups of the Kubernetes community, whose APIs need approval. Source: apiextensions-apiserver `pkg/apihelpers`, KEP-1111."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

ANNOTATION = "api-approved.kubernetes.io"
_POLICY = "see https://github.com/kubernetes/enhancements/pull/1111"


def is_protected(group: str) -> bool:
    """Whether the group belongs to the community."""
    return any(group == domain or group.endswith(f".{domain}") for domain in ("k8s.io", "kubernetes.io"))


def judge(definition: Mapping[str, Any]) -> tuple[str, str, str]:
    """Status, reason and message of the condition KubernetesAPIApprovalPolicyConformant."""
    text = (definition["metadata"].get("annotations") or {}).get(ANNOTATION, "")
    if not text:
        message = f'protected groups must have approval annotation "{ANNOTATION}", {_POLICY}'
        return "False", "MissingAnnotation", message
    if text.startswith("unapproved"):
        return "False", "UnapprovedAnnotation", f'not approved: "{text}"'
    url = urlsplit(text)
    if url.scheme and url.netloc:
        return "True", "ApprovedAnnotation", f"approved in {text}"
    message = f'protected groups must have approval annotation "{ANNOTATION}" with either a URL or a reason starting with "unapproved", '
    return "False", "InvalidAnnotation", message + _POLICY
