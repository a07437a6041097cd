"""The environments of expressions in admission: match conditions of webhooks, and policies.

Source: apiserver `pkg/admission/plugin/cel`.
"""

from __future__ import annotations

from functools import lru_cache

from pilothouse.api.cel.environment import AUTHORIZER, DYN, RESOURCE_CHECK, Environment

VARIABLES = {
    "object": DYN,
    "oldObject": DYN,
    "request": DYN,
    "authorizer": AUTHORIZER,
    "authorizer.requestResource": RESOURCE_CHECK,
}
POLICY_VARIABLES = {**VARIABLES, "params": DYN, "variables": DYN, "namespaceObject": DYN}


@lru_cache(2)
def admission_environment(is_policy: bool) -> Environment:
    """What expressions of a policy, or of a webhook, know; one of each in a process."""
    return Environment(POLICY_VARIABLES if is_policy else VARIABLES, mutates=is_policy)
