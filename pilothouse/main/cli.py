"""The command `pilothouse`.

Standard library only: a command-line library costs more time to import than `status` takes to answer. Components are dispatched
before the parser of the user's commands is even built.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

COMPONENTS = {
    "apiserver": "run an API server",
    "controller-manager": "run the controllers",
    "scheduler": "run a scheduler",
    "kubelet": "run a kubelet on this machine",
    "proxy": "run the Service proxy on this machine",
    "dns": "run the cluster's DNS server on this machine",
}
SUPERVISED = ("control", "node")
"""Processes that combine components; `pilothouse up` starts them."""
GIVEN = ("simulated", "node_name", "node_ip", "secure_port", "kubelet_port", "read_only_port")
"""The settings of a cluster that `pilothouse up` takes as flags."""
GARBAGE_THRESHOLDS = (20_000, 20, 20)
"""For Python's collector of cycles, in components. Decoded objects are hundreds of containers each that die by their reference counts;
with Python's own thresholds looking through them costs a write a tenth more.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(arguments)
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing more is written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _dispatch(arguments: list[str]) -> int:
    if arguments and (arguments[0] in COMPONENTS or arguments[0] in SUPERVISED):
        from pilothouse.main.component import run_component

        gc.set_threshold(*GARBAGE_THRESHOLDS)
        module = importlib.import_module(f"pilothouse.main.{arguments[0].replace('-', '_')}")
        return run_component(module.COMPONENT, arguments[1:])
    from pilothouse.main.failure import Fatal

    parsed = _parser().parse_args(arguments)
    try:
        return _run(parsed)
    except Fatal as error:
        print(f"pilothouse: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(parsed: argparse.Namespace) -> int:
    from pilothouse.main.paths import paths_for

    paths = paths_for(parsed.directory)
    if parsed.command == "up":
        from pilothouse.cli.progress import Progress
        from pilothouse.main.up import up

        given = {name: getattr(parsed, name) for name in GIVEN}
        up(
            paths,
            parsed.directory,
            given,
            timeout_s=parsed.timeout,
            progress=Progress(),
            merge_kubeconfig=parsed.merge_kubeconfig,
        )
    elif parsed.command == "down":
        from pilothouse.cli.progress import Progress
        from pilothouse.main.down import down

        down(paths, Progress())
    elif parsed.command == "reset":
        from pilothouse.cli.progress import Progress
        from pilothouse.main.down import reset

        if not parsed.yes and not _confirmed(f"Delete the cluster and all its data in {paths.data}?"):
            print("Nothing was deleted.")
            return 1
        reset(paths, Progress())
    elif parsed.command == "supervise":
        from pilothouse.main.supervise import supervise

        supervise(paths, parsed.directory)
    else:
        from pilothouse.main import inspect

        return inspect.run(parsed, paths)
    return 0


def _confirmed(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _parser() -> argparse.ArgumentParser:
    from pilothouse import KUBERNETES_VERSION, __version__

    parser = argparse.ArgumentParser(
        prog="pilothouse",
        description="A complete Kubernetes in Python.",
        epilog="Components, each with --help: " + ", ".join(COMPONENTS),
    )
    parser.add_argument(
        "--version", action="version", version=f"pilothouse {__version__} (Kubernetes {KUBERNETES_VERSION})"
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--directory", type=Path, help="keep the cluster's data, logs and state here instead of the system's places"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", parents=[shared])

    up = command("up", "start the cluster on this machine, or bring it back")
    up.add_argument(
        "--simulated",
        type=_positive,
        metavar="N",
        help="N simulated nodes instead of a real one: no root, no containers",
    )
    up.add_argument("--node-name", help="name of this machine's node (default: its host name)")
    up.add_argument("--node-ip", help="address of this machine's node (default: that of its default route)")
    up.add_argument("--secure-port", type=int, help="port of the API server (default: 6443)")
    up.add_argument("--kubelet-port", type=int, help="port of the node's kubelet (default: 10250)")
    up.add_argument("--read-only-port", type=int, help="port of its server without authentication (default: 10255)")
    up.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="how long to wait until nodes are ready"
    )
    up.add_argument(
        "--no-merge-kubeconfig", dest="merge_kubeconfig", action="store_false", help="leave the user's kubeconfig alone"
    )
    command("down", "stop the cluster and everything it started; its data stays")
    reset = command("reset", "stop the cluster and delete its data")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    status = command("status", "show components, nodes, versions, and where data and logs are")
    status.add_argument("-o", "--output", choices=("text", "json"), default="text")
    command("kubeconfig", "print the administrator's kubeconfig")
    logs = command("logs", "show the log of a component")
    logs.add_argument("component", help="apiserver, control, node, containerd or supervisor")
    logs.add_argument("-f", "--follow", action="store_true", help="keep showing what is added")
    logs.add_argument(
        "-n", "--tail", type=int, default=200, metavar="LINES", help="how many lines to begin with (default: 200)"
    )
    image = commands.add_parser("image", help="manage the node's images")
    image_commands = image.add_subparsers(dest="image_command", required=True, metavar="COMMAND")
    load = image_commands.add_parser(
        "load", help="load an image archive, made by `docker save` for example", parents=[shared]
    )
    load.add_argument("file", type=Path)
    image_commands.add_parser("list", help="list the images", parents=[shared])
    for name, text in COMPONENTS.items():
        commands.add_parser(name, help=text, add_help=False)
    commands.add_parser("supervise", parents=[shared])
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value
