"""A cluster as its user has it: the command `pilothouse`, stock kubectl, and HTTPS with the administrator's certificate."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Object = dict[str, Any]

KUBECTL = os.environ.get("KUBECTL", "kubectl")
LIMIT_S = 30.0
COMMAND_LIMIT_S = 90.0


def until(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """The first true value of `condition`; fails the test if there is none in time."""
    deadline = time.monotonic() + limit_s
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {limit_s:.0f} s: {what}")
        time.sleep(0.02)


@dataclass(frozen=True)
class Result:
    """What a command printed and how it ended."""

    status: int
    output: str
    errors: str


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Object:
        value: Object = json.loads(self.body)
        return value


@dataclass
class Cluster:
    """`inside` is put before each command: it takes the command to the cluster's network namespace."""

    directory: Path
    port: int
    inside: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "data" / "kubeconfig" / "admin.conf"

    def run(
        self, *command: str, text: str = "", check: bool = True, environment: Mapping[str, str] | None = None
    ) -> Result:
        """Run a command where the cluster is; fails the test if it fails, unless told not to check."""
        done = subprocess.run(
            [*self.inside, *command],
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            env={
                **os.environ,
                "KUBECONFIG": str(self.kubeconfig),
                "KUBECACHEDIR": str(self.directory / "kubectl"),
                "HOME": str(self.directory),
                **self.environment,
                **(environment or {}),
            },
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        if check and result.status:
            pytest.fail(f"{' '.join(command)} ended with {result.status}: {result.errors}{result.output}")
        return result

    def pilothouse(self, *arguments: str, check: bool = True, **options: Any) -> Result:
        command = (sys.executable, "-m", "pilothouse.main", *arguments, "--directory", str(self.directory))
        return self.run(*command, check=check, **options)

    def up(self, *arguments: str, check: bool = True, **options: Any) -> Result:
        return self.pilothouse("up", "--no-merge-kubeconfig", *arguments, check=check, **options)

    def down(self) -> Result:
        return self.pilothouse("down")

    def status(self) -> Object:
        """What `pilothouse status -o json` shows."""
        report: Object = json.loads(self.pilothouse("status", "-o", "json", check=False).output)
        return report

    def component(self, name: str) -> Object:
        """A component of `status`, or an empty object while it does not run."""
        found = (component for component in self.status()["components"] if component["name"] == name)
        return next((component for component in found if component["pid"]), {})

    def kubectl(self, *arguments: str, text: str = "", check: bool = True, **options: Any) -> str:
        """What kubectl printed; if it may fail, also what it printed as errors. Skips the test where there is no kubectl."""
        if shutil.which(KUBECTL) is None:
            pytest.skip(f"{KUBECTL} is not installed")
        result = self.run(KUBECTL, *arguments, text=text, check=check, **options)
        return result.output if check else result.output + result.errors

    def apply(self, *objects: Object, namespace: str = "default") -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", "-n", namespace, "-f", "-", text=text)

    def get(self, *arguments: str) -> Object:
        """The object or list that `kubectl get ARGUMENTS -o json` prints."""
        value: Object = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return value

    def wait(self, *arguments: str, limit_s: float = LIMIT_S) -> None:
        self.kubectl("wait", *arguments, f"--timeout={limit_s:.0f}s")

    def path(self, *arguments: str, of: str) -> str:
        """The value of a JSONPath, as text."""
        return self.kubectl("get", *arguments, "-o", f"jsonpath={{{of}}}")

    def connect(self, *, as_admin: bool = True) -> http.client.HTTPSConnection:
        """A connection to the API server from this process; for clusters that are not in a namespace."""
        pki = self.directory / "data" / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        if as_admin:
            context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=LIMIT_S)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        as_admin: bool = True,
    ) -> Answer:
        """A request of its own connection; `body` is bytes, or a value sent as JSON."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = self.connect(as_admin=as_admin)
        try:
            kind = {"content-type": "application/json"} if body is not None else {}
            connection.request(method, path, content, {**kind, **(headers or {})})
            response = connection.getresponse()
            answer = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, answer, response.read())
        finally:
            connection.close()


def free_port(above: int = 0) -> int:
    """A TCP port that nobody listens at, below those that the kernel gives to outgoing connections."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in range((above or 20000 + os.getpid() % 1000) + 1, low):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")
