"""What expressions that select devices know. Source: dynamic-resource-allocation `cel`, KEP-4381."""

from __future__ import annotations

from functools import lru_cache

from pilothouse.api.cel.environment import DYN, Environment


@lru_cache(1)
def device_environment() -> Environment:
    """One in a process. Of a device's attributes only a value can tell the types."""
    return Environment({"device": DYN})
