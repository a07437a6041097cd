"""The import layers of docs/architecture.md hold: imports go only downward, not between neighbours, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "pilothouse"
COMPONENTS = ("apiserver", "controllers", "scheduler", "kubelet", "proxy", "dns", "ingress", "cli", "testing")
BELOW_COMPONENTS = {"client", "api", "kit"}
ALLOWED: dict[str, set[str]] = {
    "main": {*COMPONENTS, "store", "client", "api", "kit"},
    **dict.fromkeys(COMPONENTS, BELOW_COMPONENTS),
    "apiserver": BELOW_COMPONENTS | {"store"},
    "store": {"api", "kit"},
    "client": {"api", "kit"},
    "api": {"kit"},
    "kit": set(),
}
DRAWERS = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"}


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import hides the layer"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_package_has_a_layer() -> None:
    packages = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert packages <= set(ALLOWED)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_only_downward(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "pilothouse" and len(parts) > 1 and (ROOT / parts[1]).is_dir():
            assert parts[1] in ALLOWED[package] | {package}, f"{package}/ must not import {name}"


def test_no_modules_import_each_other() -> None:
    """Not for types only, and not late either."""
    paths = {path.relative_to(ROOT.parent).with_suffix("").as_posix().replace("/", "."): path for path in modules()}
    names = {name.removesuffix(".__init__"): name for name in paths}
    graph = {}
    for name, path in paths.items():
        found = {names.get(each) or names.get(each.rpartition(".")[0]) for each in imports(path)}
        graph[name] = found - {name, None}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_no_module_is_a_drawer() -> None:
    drawers = [path for path in ROOT.rglob("*") if path.stem in DRAWERS]
    assert drawers == []
