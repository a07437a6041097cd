"""Pilothouse: a complete Kubernetes in Python."""

__version__ = "0.1.0"

KUBERNETES_VERSION = "v1.36.2"
"""The upstream release whose API and behaviour this version serves."""
