"""Typed reading of Namespaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api.view import View


class NamespaceView(View):
    """A Namespace."""

    __slots__ = ()

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", ""))

    @property
    def is_active(self) -> bool:
        """Whether things may be created in it."""
        return not self.is_deleting and self.phase != "Terminating"

    @property
    def finalizers(self) -> Sequence[str]:
        """The finalizers of its spec, which are not those of its metadata."""
        return self.spec.get("finalizers") or ()

    @property
    def conditions(self) -> Sequence[Mapping[str, Any]]:
        return self.status.get("conditions") or ()
