"""Commands that look at a cluster: `status`, `kubeconfig`, `logs`, `image`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from pilothouse import KUBERNETES_VERSION, __version__
from pilothouse.cli.progress import Progress
from pilothouse.main import cluster, settings
from pilothouse.main.failure import Fatal, last_errors
from pilothouse.main.paths import Paths
from pilothouse.main.supervisor import start_time, supervisor_pid

FOLLOW_POLL_S = 0.2


def run(parsed: argparse.Namespace, paths: Paths) -> int:
    """Run the command; its exit status. Raises Fatal."""
    if parsed.command == "status":
        return _status(paths, as_json=parsed.output == "json")
    if parsed.command == "kubeconfig":
        _print_kubeconfig(paths)
    elif parsed.command == "logs":
        _logs(paths, parsed.component, tail=parsed.tail, follow=parsed.follow)
    elif parsed.command == "image":
        asyncio.run(_image(parsed, paths))
    return 0


def collect(paths: Paths) -> dict[str, Any]:
    """What `status` shows."""
    saved = settings.load(paths)
    running = supervisor_pid(paths)
    report: dict[str, Any] = {
        "version": __version__,
        "kubernetes": KUBERNETES_VERSION,
        "running": running is not None,
        "data": str(paths.data),
        "logs": str(paths.logs),
        "components": [],
        "errors": last_errors(paths.run),
        "nodes": [],
    }
    if running is None or saved is None:
        return report
    report["server"] = saved.server
    report["kubeconfig"] = str(paths.admin_kubeconfig)
    report["components"].append(
        {"name": "supervisor", "pid": running, "restarts": 0, "memory_bytes": _memory_bytes(running)}
    )
    if paths.state.exists():
        for process in json.loads(paths.state.read_text()):
            is_alive = bool(process["pid"]) and start_time(process["pid"]) is not None
            report["components"].append(
                {**process, "pid": process["pid"] if is_alive else 0, "memory_bytes": _memory_bytes(process["pid"])}
            )
    api = cluster.Api(saved, paths)
    report["api"] = "ready" if api.is_ready() else "not ready"
    if report["api"] == "ready":
        report["nodes"] = [
            {
                "name": node["metadata"]["name"],
                "ready": cluster.is_node_ready(node),
                "version": node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", ""),
                "runtime": node.get("status", {}).get("nodeInfo", {}).get("containerRuntimeVersion", ""),
            }
            for node in api.nodes()
        ]
    return report


def _status(paths: Paths, *, as_json: bool) -> int:
    report = collect(paths)
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(_lines(report)))
    return 0 if report["running"] and report.get("api") == "ready" else 1


def _lines(report: dict[str, Any]) -> list[str]:
    lines = [f"Pilothouse {report['version']} (Kubernetes {report['kubernetes']})"]
    if not report["running"]:
        lines.append("The cluster is not running: `pilothouse up` starts it.")
    else:
        lines.append(f"API server  {report['server']} ({report['api']})")
        lines += ["", f"{'COMPONENT':<14}{'PID':>8}{'RESTARTS':>10}{'MEMORY':>10}"]
        for component in report["components"]:
            memory = f"{component['memory_bytes'] / 1e6:.0f} MB" if component["memory_bytes"] else "-"
            lines.append(f"{component['name']:<14}{component['pid'] or '-':>8}{component['restarts']:>10}{memory:>10}")
    if report["nodes"]:
        width = max(12, *(len(node["name"]) for node in report["nodes"])) + 2
        lines += ["", f"{'NODE':<{width}}{'STATUS':<10}{'VERSION':<12}RUNTIME"]
        lines += [
            f"{node['name']:<{width}}{'Ready' if node['ready'] else 'NotReady':<10}{node['version']:<12}{node['runtime']}"
            for node in report["nodes"]
        ]
    lines += [f"\n! {component}: {sentence}" for component, sentence in report["errors"].items()]
    lines += ["", f"Data  {report['data']}", f"Logs  {report['logs']}"]
    return lines


def _memory_bytes(pid: int) -> int:
    """The process's proportional share of memory."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def _print_kubeconfig(paths: Paths) -> None:
    try:
        print(paths.admin_kubeconfig.read_text(), end="")
    except FileNotFoundError:
        raise Fatal("there is no cluster yet: run `pilothouse up`") from None
    except PermissionError:
        raise Fatal(f"{paths.admin_kubeconfig} can be read by its owner only: use sudo") from None


def _logs(paths: Paths, component: str, *, tail: int, follow: bool) -> None:
    path = paths.log_file(component)
    if path.parent != paths.logs or not path.exists():
        known = ", ".join(sorted(log.stem for log in paths.logs.glob("*.log"))) or "none yet"
        raise Fatal(f"there is no log of {component!r}; there are: {known}")
    with path.open(errors="replace") as file:
        lines = file.readlines()
        sys.stdout.writelines(lines[-tail:] if tail > 0 else lines)
        sys.stdout.flush()
        while follow:
            if added := file.read():
                sys.stdout.write(added)
                sys.stdout.flush()
            elif os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)
            else:
                time.sleep(FOLLOW_POLL_S)


async def _image(parsed: argparse.Namespace, paths: Paths) -> None:
    from pilothouse.main.node_host import NodeHost
    from pilothouse.main.runtime.images import ImageError

    saved = settings.load(paths)
    if saved is None or supervisor_pid(paths) is None:
        raise Fatal("the cluster is not running: run `pilothouse up` first")
    if saved.simulated:
        raise Fatal("simulated nodes run no containers and need no images: any image name works there")
    cluster.require_root("loading images")
    images = NodeHost(paths, saved).containerd.images
    try:
        if parsed.image_command == "load":
            with Progress().step(f"Loading {parsed.file}"):
                names = await images.load(parsed.file)
            print("\n".join(names) if names else "nothing new: the node has these images already")
        else:
            for image in await images.list():
                print(f"{image.name:<70}{image.size}")
    except ImageError as error:
        raise Fatal(str(error)) from error
