"""The description of the API in OpenAPI 2 and 3, for `kubectl explain`, client-side checks and client generators."""

from pilothouse.apiserver.openapi.server import OpenApi

__all__ = ["OpenApi"]
