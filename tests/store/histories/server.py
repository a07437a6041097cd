"""API servers as processes, with the certificates and flags that a cluster gives them, which die when they are told to."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

from pilothouse.kit.clock import SystemClock
from pilothouse.kit.http.client import ConnectionFailed, HttpPool, ResponseTimeout
from pilothouse.kit.pki import Pki
from pilothouse.main import cluster, credentials, settings
from pilothouse.main.paths import paths_for

READY_S = 60.0
_MODULE = "tests.store.histories.victim"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class ApiServerProcess:
    """One API server, on SQLite in `directory` or on `etcd_servers`; started again it takes its place. Used as a context manager."""

    def __init__(self, directory: Path, *, etcd_servers: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        paths = paths_for(directory)
        paths.make()
        chosen = settings.changed(cluster.default_settings(simulated=1), secure_port=self.port)
        credentials.ensure(paths, chosen, SystemClock())
        spec = next(spec for spec in cluster.processes(chosen, paths, None) if spec.name == cluster.API_SERVER)
        flags = list(spec.argv[3:])
        if etcd_servers:
            flags = [flag for flag in flags if not flag.startswith("--database=")]
            flags.append(f"--etcd-servers={','.join(etcd_servers)}")
        self._flags = flags
        self._log = directory / "apiserver.log"
        pki = Pki(paths.pki, SystemClock())
        admin = credentials.ADMIN.name
        self.context = ssl.create_default_context(cafile=str(pki.certificate_path("ca")))
        self.context.load_cert_chain(pki.certificate_path(admin), pki.key_path(admin))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ApiServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def address(self) -> tuple[int, ssl.SSLContext]:
        return self.port, self.context

    def start(self, kill_at: str = "") -> None:
        """`kill_at` is the point at which it dies once it is armed, as `commit.before:3`; empty: at none."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, *self._flags],
                stdout=log,
                stderr=log,
                env={"KILL_AT": kill_at or "never:1"},
            )

    async def ready(self) -> None:
        """Return when it answers that it is."""
        pool = HttpPool("127.0.0.1", self.port, ssl_context=self.context, timeout_s=10)
        try:
            async with asyncio.timeout(READY_S):
                while not await self._is_ready(pool):
                    assert self._process is not None
                    assert self._process.poll() is None, self.log()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"it does not get ready: {self.log()}") from None
        finally:
            await pool.close()

    async def _is_ready(self, pool: HttpPool) -> bool:
        try:
            return (await pool.request("GET", "/readyz", headers={})).status == 200
        except (ConnectionFailed, ResponseTimeout):
            return False

    def arm(self) -> None:
        self._signal(signal.SIGUSR1)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    async def died(self) -> None:
        """Return when it was ended by SIGKILL, as it should be."""
        assert self._process is not None
        status = await asyncio.to_thread(self._process.wait)
        self._process = None
        assert status == -signal.SIGKILL, f"it ended with {status}: {self.log()}"

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def log(self) -> str:
        return self._log.read_text()[-5000:]
