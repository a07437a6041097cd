"""What a run of upstream's suite makes of the list."""

from __future__ import annotations

import argparse
import re
from datetime import date
from pathlib import Path

from tools.conformance import Pass, Standing, passes, read_list, read_report, render, summary

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


def _options(**values: object) -> argparse.Namespace:
    defaults = {"focus": r"\[Conformance\]", "skip": "", "processes": 4, "parallel_only": False}
    return argparse.Namespace(**{**defaults, **values})


def test_what_must_run_alone_runs_after_the_rest_and_once() -> None:
    for processes in (1, 4):
        together, alone = passes(_options(processes=processes, skip="Windows"))
        assert together.processes == processes
        assert alone.processes == 1
        assert _chosen(together, PODS)
        assert not _chosen(together, SETS)
        assert not _chosen(alone, PODS)
        assert _chosen(alone, SETS)
        assert not any(_chosen(part, f"{PODS} [Windows]") for part in (together, alone))
    assert len(passes(_options(parallel_only=True))) == 1


def _chosen(part: Pass, name: str) -> bool:
    return re.search(part.focus, name) is not None and not (part.skip and re.search(part.skip, name))
