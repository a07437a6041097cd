"""Real etcd servers on free ports, in a directory of the test, always ended: the machine's etcd, or the one that ETCD names."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

from pilothouse.kit.grpc import GrpcChannel, RpcFailure
from pilothouse.store.etcd.messages import Messages

PROGRAM = os.environ.get("ETCD") or shutil.which("etcd")
needs_etcd = pytest.mark.skipif(PROGRAM is None, reason="etcd is not installed (Debian: apt-get install etcd-server)")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Member:
    """One etcd server: `start`, `kill` and `start` again keep its data."""

    def __init__(
        self,
        name: str,
        directory: Path,
        ports: tuple[int, int, int],
        cluster: str,
        flags: Sequence[str] = (),
    ) -> None:
        port, peer_port, health_port = ports
        scheme = "https" if "--cert-file" in " ".join(flags) else "http"
        self.url = f"{scheme}://127.0.0.1:{port}"
        self._health = f"http://127.0.0.1:{health_port}"
        self._log = directory / f"{name}.log"
        peer = f"http://127.0.0.1:{peer_port}"
        self._arguments = [
            PROGRAM or "etcd",
            f"--name={name}",
            f"--data-dir={directory / name}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-metrics-urls={self._health}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={cluster}",
            "--initial-cluster-state=new",
            "--heartbeat-interval=20",
            "--election-timeout=200",
            "--max-request-bytes=8388608",
            "--log-outputs=stderr",
            "--logger=zap",
            "--log-level=error",
            *flags,
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._arguments, stdout=log, stderr=log)

    def wait(self) -> None:
        """Return when the member knows a leader."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, self._log.read_text()
            try:
                with urllib.request.urlopen(f"{self._health}/health", timeout=2) as answer:
                    if b'"true"' in answer.read():
                        return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"etcd did not start: {self._log.read_text()}")

    def kill(self) -> None:
        """As `kill -9` does. Idempotent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


class Etcd:
    """A cluster of members."""

    def __init__(self, directory: Path, *, size: int = 1, flags: Sequence[str] = ()) -> None:
        directory.mkdir(exist_ok=True)
        ports = free_ports(3 * size)
        members = list(zip(ports[:size], ports[size : 2 * size], ports[2 * size :], strict=True))
        cluster = ",".join(f"m{number}=http://127.0.0.1:{peer}" for number, (_, peer, _) in enumerate(members))
        self.members = [
            Member(f"m{number}", directory, member, cluster, flags) for number, member in enumerate(members)
        ]

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(member.url for member in self.members)

    def __enter__(self) -> Etcd:
        try:
            for member in self.members:
                member.start()
            for member in self.members:
                member.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.kill()


async def leader_of(etcd: Etcd) -> Member:
    """The member that leads now."""
    messages = Messages()
    while True:
        for member in etcd.members:
            if member.process is None:
                continue
            channel = GrpcChannel(member.url.removeprefix("http://"))
            try:
                status = await channel.call(
                    "/etcdserverpb.Maintenance/Status",
                    messages.StatusRequest(),
                    messages.StatusResponse.FromString,
                    timeout_s=2,
                )
            except RpcFailure:
                continue
            finally:
                await channel.close()
            if status.leader and status.leader == status.header.member_id:
                return member
