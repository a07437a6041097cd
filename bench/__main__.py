"""`python -m bench`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import uvloop

from bench import beside, fanout, idle, memory, pods, scheduling, startup, verbs
from bench.cluster import Unmeasurable, require_free_machine
from bench.report import Measurement, as_json, beside_header, beside_line, header, line, summary

Part = Callable[..., AsyncIterator[Measurement]]

PARTS: dict[str, Part] = {
    "startup": startup.measure,
    "idle": idle.measure,
    "verbs": verbs.measure,
    "fanout": fanout.measure,
    "memory": memory.measure,
    "pods": pods.measure,
    "scheduling": scheduling.measure,
}
NEED_CONTAINERS = ("pods",)
QUIET_LOAD = 0.5
REAL_IF_POSSIBLE = ("startup", "idle", "pods")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure Pilothouse and show it beside its budgets."
    )
    parser.add_argument(
        "--only", action="append", choices=PARTS, metavar="NAME", help=f"parts to run: {', '.join(PARTS)}"
    )
    parser.add_argument(
        "--simulated", action="store_true", help="simulated nodes instead of a real one: what needs root is left out"
    )
    parser.add_argument(
        "--beside",
        nargs="?",
        const="",
        metavar="KUBECONFIG",
        help="measure the verbs beside another API server: that of a kubeconfig, or upstream's binaries, which the environment's "
        "KUBE_APISERVER and ETCD name",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, and the table to standard error")
    parsed = parser.parse_args()
    parts = [name for name in PARTS if not parsed.only or name in parsed.only]
    if parsed.simulated:
        parts = [name for name in parts if name not in NEED_CONTAINERS]
    try:
        if parsed.beside is not None:
            return uvloop.run(_run_beside(parsed.beside))
        if not parsed.simulated and set(parts) & set(REAL_IF_POSSIBLE):
            require_free_machine()
        measurements, is_complete = uvloop.run(_run(parts, parsed.simulated, sys.stderr if parsed.json else sys.stdout))
    except Unmeasurable as refusal:
        print(f"bench: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if parsed.json:
        print(as_json(measurements, _machine()))
    return 0 if is_complete else 1


async def _run(parts: list[str], simulated: bool, table: Any) -> tuple[list[Measurement], bool]:
    measurements: list[Measurement] = []
    is_complete = True
    _warn_if_busy(table)
    print(header(), file=table, flush=True)
    for name in parts:
        try:
            async for measurement in PARTS[name](simulated=1 if simulated else 0):
                measurements.append(measurement)
                print(line(measurement), file=table, flush=True)
        except Exception as error:
            is_complete = False
            print(f"{name}: not measured to its end: {type(error).__name__}: {error}", file=table, flush=True)
    print(summary(measurements), file=table, flush=True)
    return measurements, is_complete


async def _run_beside(kubeconfig: str) -> int:
    _warn_if_busy(sys.stdout)
    print(beside_header(), flush=True)
    async for ours, theirs in beside.measure(beside.other_server(kubeconfig)):
        print(beside_line(ours, theirs), flush=True)
    return 0


def _warn_if_busy(table: Any) -> None:
    busy = os.getloadavg()[0]
    if busy > QUIET_LOAD:
        print(f"This machine is busy (load {busy:.1f}): figures will be worse than those of a quiet one.", file=table)


def _machine() -> dict[str, object]:
    model = next(
        (
            text.partition(":")[2].strip()
            for text in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in text
        ),
        "",
    )
    return {"cores": os.cpu_count(), "processor": model, "kernel": os.uname().release, "load": os.getloadavg()}


if __name__ == "__main__":
    # A termination must clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    sys.exit(main())
