"""Runs upstream's conformance suite against a running cluster and keeps the list of what passes.

The end-to-end binary and ginkgo are built from upstream's source (`go test -c ./test/e2e`, `go build` of ginkgo's command) or taken from
its release; neither is part of this repository. Images that the suite needs and the nodes cannot pull are loaded from archives.

    python tools/conformance.py --binary e2e.test --ginkgo ginkgo --images DIR --focus '\\[sig-node\\].*\\[Conformance\\]'

runs what may run together in several processes and what must run alone in one, prints what failed, and brings `docs/conformance.md` up to
date: for each test that ran, whether it passed. Tests that did not run keep their line; a test's last word counts. The list's table of
reasons says what a failing test waits for: it is written by hand, kept from run to run, and loses a row when its test passes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIST = ROOT / "docs" / "conformance.md"
CONFORMANCE = r"\[Conformance\]"
ALONE = "Serial || Disruptive"
"""Labels of the tests that bear no others beside them."""
TOTAL = 446
"""Conformance tests in v1.36."""
BEYOND = "beyond conformance"
_LINE = re.compile(r"^- \[(?P<mark>[ x])\] (?P<name>.*)$")
_REASON = re.compile(r"^\| (?P<name>\[.*\S) \| (?P<reason>.*\S) \|$")
_GROUP = re.compile(r"^\[(sig-[a-z-]+)\]")


@dataclass(frozen=True, slots=True)
class Standing:
    """What the list says: whether each test that has run passed, and why some do not yet, by name."""

    results: Mapping[str, bool] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def after(self, results: Mapping[str, bool]) -> Standing:
        """The standing with what a run found; a test that passes needs no reason any more."""
        merged = {**self.results, **results}
        return Standing(merged, {name: why for name, why in self.reasons.items() if not merged.get(name, False)})


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of ginkgo over the tests with these labels, `processes` of them at a time."""

    labels: str
    processes: int


def main() -> int:
    """Run the suite; 0 if every test that ran has passed, 2 if none ran."""
    options = _parser().parse_args()
    if options.images is not None:
        load_images(options.images, options.directory)
    results: dict[str, bool] = {}
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        for number, part in enumerate(passes(options)):
            report = Path(scratch, str(number))
            run(options, part, report)
            results |= read_report(report)
    standing = read_list(LIST.read_text() if LIST.exists() else "").after(results)
    print(summary(results, standing.reasons))
    if results and not options.keep_list:
        LIST.write_text(render(standing, datetime.now(UTC).date(), commit()))
    return (0 if all(results.values()) else 1) if results else 2


def summary(results: Mapping[str, bool], reasons: Mapping[str, str]) -> str:
    """What a run found, for its reader: how many passed, and which did not."""
    failed = sorted(name for name, passed in results.items() if not passed)
    lines = [f"{len(results) - len(failed)} passed, {len(failed)} failed"]
    lines += [f"  failed: {name}" + (f" (waits for {reasons[name]})" if name in reasons else "") for name in failed]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--binary", type=Path, required=True, help="upstream's e2e.test")
    parser.add_argument("--ginkgo", type=Path, required=True, help="the ginkgo command")
    parser.add_argument(
        "--kubeconfig", type=Path, default=Path(os.environ.get("KUBECONFIG", Path.home() / ".kube/config"))
    )
    parser.add_argument("--images", type=Path, help="a directory of image archives to load into each node first")
    parser.add_argument(
        "--directory",
        type=Path,
        action="append",
        help="where a node of this machine keeps its data, once for each node (default: the system's places)",
    )
    parser.add_argument("--focus", default=CONFORMANCE, help="regular expression of the tests to run")
    parser.add_argument("--skip", default="", help="regular expression of tests to leave out")
    parser.add_argument("--processes", type=int, default=8, help="how many tests run at once")
    parser.add_argument("--parallel-only", action="store_true", help="leave out the tests that must run alone")
    parser.add_argument("--timeout", default="3h")
    parser.add_argument("--output", type=Path, help="a file for everything that the suite prints")
    parser.add_argument("--keep-list", action="store_true", help="leave docs/conformance.md as it is")
    return parser


def load_images(archives: Path, nodes: Iterable[Path] | None) -> None:
    """Load every archive of a directory into each node of this machine; nodes are named by the directory of their data."""
    load = [sys.executable, "-m", "pilothouse.main", "image", "load"]
    for directory in nodes or [None]:
        where = ["--directory", str(directory)] if directory is not None else []
        for archive in sorted(archives.glob("*.tar*")):
            subprocess.run([*load, *where, str(archive)], check=True, cwd=ROOT)


def passes(options: argparse.Namespace) -> list[Pass]:
    """The runs of the suite: together what may, then alone what must."""
    together = Pass(f"!({ALONE})", options.processes)
    return [together] if options.parallel_only else [together, Pass(ALONE, 1)]


def run(options: argparse.Namespace, part: Pass, report: Path) -> None:
    """One run of ginkgo. Tests that fail do not raise."""
    report.mkdir()
    command = [
        *(str(options.ginkgo), f"--procs={part.processes}", f"--timeout={options.timeout}"),
        *(f"--label-filter={part.labels}", f"--focus={options.focus}"),
        *([f"--skip={options.skip}"] if options.skip else []),
        *("--no-color", "--silence-skips", str(options.binary), "--"),
        *(f"--kubeconfig={options.kubeconfig.resolve()}", "--provider=skeleton", "--dump-logs-on-failure=false"),
        f"--report-dir={report}",
    ]
    output = options.output.open("ab") if options.output is not None else None
    try:
        subprocess.run(command, check=False, stdout=output, stderr=subprocess.STDOUT if output is not None else None)
    finally:
        if output is not None:
            output.close()


def read_report(directory: Path) -> dict[str, bool]:
    """Whether each test that ran has passed, by its name, from the JUnit reports of a directory."""
    results: dict[str, bool] = {}
    for file in directory.glob("junit*.xml"):
        for case in ElementTree.parse(file).iter("testcase"):
            name = " ".join(case.get("name", "").removeprefix("[It] ").split())
            if _GROUP.match(name) and case.find("skipped") is None:
                results[name] = case.find("failure") is None and case.find("error") is None
    return results


def read_list(text: str) -> Standing:
    """What a list says."""
    lines = text.splitlines()
    results = {match["name"]: match["mark"] == "x" for match in map(_LINE.match, lines) if match}
    reasons = {match["name"]: match["reason"] for match in map(_REASON.match, lines) if match}
    return Standing({name: passed for name, passed in results.items() if _GROUP.match(name)}, reasons)


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "an unknown commit"


def render(standing: Standing, day: date, at: str) -> str:
    """The list: counts by group, what is waited for, then the names. Tests beyond conformance come after, apart."""
    groups: dict[str, dict[str, bool]] = {}
    for name, passed in sorted(standing.results.items(), key=lambda item: (_section(item[0]), item[0])):
        groups.setdefault(_section(name)[1], {})[name] = passed
    conformance = {name: passed for name, passed in standing.results.items() if re.search(CONFORMANCE, name)}
    lines = [
        "# Conformance",
        "",
        f"Upstream's suite for v1.36 has {TOTAL} conformance tests. {len(conformance)} of them have been run against Pilothouse and "
        f"{sum(conformance.values())} pass, as of {day}, commit {at}. `tools/conformance.py` runs the suite and writes this list.",
        "",
        "| group | pass | of those run |",
        "|---|---|---|",
        *(f"| {group} | {sum(tests.values())} | {len(tests)} |" for group, tests in groups.items()),
    ]
    if standing.reasons:
        lines += ["", "| does not pass, or was not run | waits for |", "|---|---|"]
        lines += [f"| {name} | {reason} |" for name, reason in sorted(standing.reasons.items())]
    for group, tests in groups.items():
        lines += ["", f"## {group}", ""]
        lines += [f"- [{'x' if passed else ' '}] {name}" for name, passed in tests.items()]
    return "\n".join(lines) + "\n"


def _section(name: str) -> tuple[bool, str]:
    """Where the list has a test, in the order of its sections."""
    match = _GROUP.match(name)
    group = match[1] if match else "other"
    beyond = re.search(CONFORMANCE, name) is None
    return beyond, f"{group}, {BEYOND}" if beyond else group


if __name__ == "__main__":
    sys.exit(main())
