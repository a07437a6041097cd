"""What a run of upstream's suite makes of the list."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path

from tools.conformance import Pass, Standing, passes, read_list, read_report, render, run, summary

PODS = "[sig-node] Pods should be updated [NodeConformance] [Conformance]"
SETS = "[sig-apps] StatefulSet should scale [Serial] [Conformance]"
EXTRA = "[sig-auth] SelfSubjectReview should work"
DAY = date(2026, 11, 27)
REPORT = f"""<testsuites><testsuite>
<testcase name="[It] {PODS}"/>
<testcase name="[It] {SETS.replace(" should", "  should")}"><failure message="timed out"/></testcase>
<testcase name="[It] [sig-node] Left out"><skipped/></testcase>
<testcase name="[SynchronizedBeforeSuite]"/>
<testcase name="[ReportAfterSuite] [sig-testing] Log Check"/>
</testsuite></testsuites>"""


def test_a_report_tells_tests_that_ran_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "junit_01.xml").write_text(REPORT)
    assert read_report(tmp_path) == {PODS: True, SETS: False}


def test_a_list_reads_as_it_was_written() -> None:
    standing = Standing({PODS: True, SETS: False, EXTRA: True}, {SETS: "the StatefulSet controller"})
    text = render(standing, DAY, "abc1234")
    assert read_list(text) == standing
    assert render(read_list(text), DAY, "abc1234") == text


def test_only_conformance_tests_count_as_such() -> None:
    text = render(Standing({PODS: True, SETS: False, EXTRA: False}), DAY, "abc1234")
    assert "2 of them have been run against Pilothouse and 1 pass, as of 2026-11-27, commit abc1234" in text
    assert "| sig-auth, beyond conformance | 0 | 1 |" in text
    assert text.index(f"- [ ] {SETS}") < text.index(f"- [x] {PODS}") < text.index(f"- [ ] {EXTRA}")


def test_a_reason_stays_until_its_test_passes() -> None:
    before = Standing({PODS: True, SETS: False}, {SETS: "the StatefulSet controller"})
    assert before.after({PODS: True}) == before
    assert before.after({SETS: False}).reasons == before.reasons
    after = before.after({SETS: True})
    assert after.results == {PODS: True, SETS: True}
    assert not after.reasons
    assert "waits for" not in render(after, DAY, "abc1234")


def test_a_summary_names_failures_with_their_reasons() -> None:
    assert summary({PODS: False, SETS: False, EXTRA: True}, {SETS: "its controller"}).splitlines() == [
        "1 passed, 2 failed",
        f"  failed: {SETS} (waits for its controller)",
        f"  failed: {PODS}",
    ]


def test_what_must_run_alone_runs_after_the_rest_and_once() -> None:
    """By label, as ginkgo's filters read it: the mark stands anywhere in a test's name."""
    for processes in (1, 4):
        parts = passes(argparse.Namespace(processes=processes, parallel_only=False))
        assert parts == [Pass("!(Serial || Disruptive)", processes), Pass("Serial || Disruptive", 1)]
    assert passes(argparse.Namespace(processes=4, parallel_only=True)) == [Pass("!(Serial || Disruptive)", 4)]


def test_a_run_asks_ginkgo_for_the_tests_of_its_pass(tmp_path: Path) -> None:
    ginkgo = tmp_path / "ginkgo"
    ginkgo.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    ginkgo.chmod(0o755)
    output, report = tmp_path / "output", tmp_path / "report"
    options = argparse.Namespace(
        ginkgo=ginkgo,
        binary="e2e.test",
        kubeconfig=tmp_path / "config",
        timeout="1h",
        output=output,
        focus=r"\[sig-apps\].*\[Conformance\]",
        skip="Windows",
    )
    run(options, Pass("Serial", 3), report)
    words = output.read_text().splitlines()
    suite = words.index("--")
    assert {"--procs=3", "--label-filter=Serial", f"--focus={options.focus}", "--skip=Windows"} <= set(words[:suite])
    assert {f"--kubeconfig={tmp_path / 'config'}", f"--report-dir={report}"} <= set(words[suite:])
    assert words[suite - 1] == "e2e.test"
    assert report.is_dir()
