"""What the flags of `pilothouse apiserver` mean together."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.main.apiserver import FLAGS, options_of
from pilothouse.main.apiserver_parts import ServerOptions
from pilothouse.main.flags import parse


def options(tmp_path: Path, *flags: str) -> ServerOptions:
    key = tmp_path / "key"
    key.write_text("")
    files = [f"--{name}={key}" for name in ("tls-cert-file", "tls-private-key-file", "service-account-key-file")]
    signing = f"--service-account-signing-key-file={key}"
    return options_of(parse("apiserver", FLAGS, [*files, signing, *flags]))


@pytest.mark.parametrize(("modes", "allowed"), [("Node,RBAC", True), ("RBAC,AlwaysAllow", False)])
def test_where_everything_is_allowed_nobody_is_anonymous(tmp_path: Path, modes: str, allowed: bool) -> None:
    assert options(tmp_path, f"--authorization-mode={modes}").security.foreign.allow_anonymous is allowed
