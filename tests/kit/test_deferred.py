"""Functions that are imported when first called."""

from __future__ import annotations

import pytest

from pilothouse.kit.deferred import Deferred


def test_it_calls_what_it_names() -> None:
    assert Deferred("posixpath", "join")("a", "b") == "a/b"


@pytest.mark.parametrize(
    ("module", "name", "error"), [("no.such.module", "x", ImportError), ("posixpath", "nothing", AttributeError)]
)
def test_a_wrong_name_is_an_error_when_it_is_called(module: str, name: str, error: type[Exception]) -> None:
    deferred = Deferred(module, name)
    with pytest.raises(error):
        deferred()
