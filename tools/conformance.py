"""Runs upstream's conformance suite against a running cluster and keeps the list of what passes.

The end-to-end binary and ginkgo are built from upstream's source (`go test -c ./test/e2e`, `go build` of ginkgo's command) or taken from
its release; neither is part of this repository. Images that the suite needs and the nodes cannot pull are loaded from archives.

    python tools/conformance.py --binary e2e.test --ginkgo ginkgo --images DIR --focus '\\[sig-node\\].*\\[Conformance\\]'

writes a JUnit report, prints what failed, and brings `docs/conformance.md` up to date: for each test that ran, whether it passed. Names of
tests that did not run keep their line. A test's last word counts.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIST = ROOT / "docs" / "conformance.md"
CONFORMANCE = r"\[Conformance\]"
ALONE = r"\[Serial\]|\[Disruptive\]"
TOTAL = 446
"""Conformance tests in v1.36."""
_LINE = re.compile(r"^- \[(?P<mark>[ x])\] (?P<name>.*)$")
_GROUP = re.compile(r"\[(sig-[a-z-]+)\]")


def main() -> int:
    """Run the suite; 0 if all tests that ran have passed."""
    options = _parser().parse_args()
    if options.images is not None:
        load_images(options.images)
    results: dict[str, bool] = {}
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        for number, (skip, processes) in enumerate(passes(options)):
            report = Path(scratch, str(number))
            run(options, skip, processes, report)
            results |= read_report(report)
    failed = sorted(name for name, passed in results.items() if not passed)
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    print("\n".join(f"  failed: {name}" for name in failed))
    if not options.keep_list:
        LIST.write_text(render(read_list() | results, commit()))
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--binary", type=Path, required=True, help="upstream's e2e.test")
    parser.add_argument("--ginkgo", type=Path, required=True, help="the ginkgo command")
    parser.add_argument(
        "--kubeconfig", type=Path, default=Path(os.environ.get("KUBECONFIG", Path.home() / ".kube/config"))
    )
    parser.add_argument("--images", type=Path, help="a directory of image archives to load into the node first")
    parser.add_argument("--focus", default=CONFORMANCE, help="regular expression of the tests to run")
    parser.add_argument("--skip", default="", help="regular expression of tests to leave out")
    parser.add_argument("--processes", type=int, default=8, help="how many tests run at once")
    parser.add_argument("--parallel-only", action="store_true", help="leave out the tests that must run alone")
    parser.add_argument("--timeout", default="3h")
    parser.add_argument("--output", type=Path, help="a file for everything that the suite prints")
    parser.add_argument("--keep-list", action="store_true", help="leave docs/conformance.md as it is")
    return parser


def load_images(directory: Path) -> None:
    """Load every archive of a directory into this machine's node."""
    for archive in sorted(directory.glob("*.tar*")):
        subprocess.run([sys.executable, "-m", "pilothouse.main", "image", "load", str(archive)], check=True, cwd=ROOT)


def passes(options: argparse.Namespace) -> list[tuple[str, int]]:
    """What to skip and how many processes to use, for each run of the suite: together what may, then alone what must."""
    together = "|".join(part for part in (options.skip, ALONE) if part)
    runs = [(together, options.processes)]
    if not options.parallel_only:
        runs.append((options.skip, 1))
    return runs


def run(options: argparse.Namespace, skip: str, processes: int, report: Path) -> None:
    """One run of ginkgo. Tests that fail do not raise."""
    report.mkdir()
    focus = options.focus if processes > 1 else f"({options.focus}).*({ALONE})|({ALONE}).*({options.focus})"
    command = [
        *(str(options.ginkgo), f"--procs={processes}", f"--timeout={options.timeout}", f"--focus={focus}"),
        *([f"--skip={skip}"] if skip else []),
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
            name = case.get("name", "").removeprefix("[It] ")
            if _GROUP.search(name) and case.find("skipped") is None:
                results[_without_labels(name)] = case.find("failure") is None and case.find("error") is None
    return results


def _without_labels(name: str) -> str:
    return " ".join(name.split())


def read_list() -> dict[str, bool]:
    """What the list says now."""
    if not LIST.exists():
        return {}
    matches = (_LINE.match(line) for line in LIST.read_text().splitlines())
    return {match["name"]: match["mark"] == "x" for match in matches if match}


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "an unknown commit"


def render(results: Mapping[str, bool], at: str) -> str:
    """The list, by group."""
    groups: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for name, passed in results.items():
        match = _GROUP.search(name)
        groups[match[1] if match else "other"].append((name, passed))
    passed_count = sum(results.values())
    day = datetime.now(UTC).date()
    lines = [
        "# Conformance",
        "",
        f"Upstream's suite for v1.36 has {TOTAL} conformance tests. {len(results)} of them have been run against Pilothouse and "
        f"{passed_count} pass, as of {day}, commit {at}. `tools/conformance.py` runs the suite and writes this list.",
        "",
        "| group | pass | of those run |",
        "|---|---|---|",
    ]
    lines += [f"| {group} | {sum(p for _, p in tests)} | {len(tests)} |" for group, tests in sorted(groups.items())]
    for group, tests in sorted(groups.items()):
        lines += ["", f"## {group}", ""]
        lines += [f"- [{'x' if passed else ' '}] {name}" for name, passed in sorted(tests)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
