"""Which tokens of service accounts are used. Source: `pkg/serviceaccount/metrics.go`."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.apiserver.authn.legacy_token import LegacyTokens
from pilothouse.apiserver.authn.service_account import ServiceAccountTokens
from pilothouse.kit.metrics import Family


def families(bound: ServiceAccountTokens, legacy: LegacyTokens) -> Iterable[Family]:
    """For `/metrics`."""
    for name, what, count in (
        ("legacy_tokens_total", "legacy service account tokens", legacy.uses),
        ("stale_tokens_total", "stale projected service account tokens", bound.stale),
        ("valid_tokens_total", "valid projected service account tokens", bound.valid),
        ("legacy_manual_token_uses_total", "manually created legacy tokens", legacy.manual),
        ("legacy_auto_token_uses_total", "auto-generated legacy tokens", legacy.automatic),
        ("invalid_legacy_auto_token_uses_total", "invalid auto-generated legacy tokens", legacy.invalidated),
    ):
        yield Family(f"serviceaccount_{name}", "counter", f"[ALPHA] Cumulative {what} used").add(count)
