"""Functions that are imported when they are first called.

A table that names hundreds of functions in dozens of modules would otherwise load all of them at start-up, for kinds that nobody touches.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


class Deferred:
    """A function by its module and name; calling it imports the module, once."""

    __slots__ = ("_found", "module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name
        self._found: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        return (self._found or self.resolve())(*arguments)

    def resolve(self) -> Callable[..., Any]:
        """The function itself. Raises ImportError or AttributeError if there is none."""
        found: Callable[..., Any] = getattr(import_module(self.module), self.name)
        self._found = found
        return found
