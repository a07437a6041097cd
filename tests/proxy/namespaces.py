"""A small network for tests: a node with two pods on its bridge, and a machine outside, each a network namespace.

    outside 192.0.2.9 ── 192.0.2.1 node 10.244.0.1 ── bridge ── pods 10.244.0.2, 10.244.0.3

A socket belongs to the namespace of the thread that makes it, so a test makes its sockets in short-lived threads and uses them freely.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
IP = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")


def can_make_namespaces() -> bool:
    return os.geteuid() == 0 and IP is not None


class Network:
    """The four namespaces. Their names hold the process id, so that tests may run side by side."""

    def __init__(self) -> None:
        prefix = f"pht{os.getpid()}"
        self.node = f"{prefix}-node"
        self.outside = f"{prefix}-outside"
        self.pods = (f"{prefix}-pod1", f"{prefix}-pod2")
        self.addresses = ("10.244.0.2", "10.244.0.3")

    def make(self) -> None:
        for name in (self.node, self.outside, *self.pods):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", self.node, "link", "add", "bridge0", "type", "bridge")
        ip("-n", self.node, "address", "add", "10.244.0.1/24", "dev", "bridge0")
        ip("-n", self.node, "link", "set", "bridge0", "up")
        for index, (pod, address) in enumerate(zip(self.pods, self.addresses, strict=True)):
            self._connect(pod, f"pod{index}", f"{address}/24", "10.244.0.1")
            ip("-n", self.node, "link", "set", f"pod{index}", "master", "bridge0", "up")
            ip("netns", "exec", self.node, "bridge", "link", "set", "dev", f"pod{index}", "hairpin", "on")
        self._connect(self.outside, "uplink", "192.0.2.9/24", "192.0.2.1")
        ip("-n", self.node, "address", "add", "192.0.2.1/24", "dev", "uplink")
        ip("-n", self.node, "link", "set", "uplink", "up")
        ip("-n", self.node, "link", "add", "internet", "type", "bridge")
        ip("-n", self.node, "address", "add", "198.51.100.1/24", "dev", "internet")
        ip("-n", self.node, "link", "set", "internet", "up")
        ip("-n", self.node, "route", "add", "default", "via", "198.51.100.2", "src", "192.0.2.1")

        def set_up_kernel() -> None:
            for setting in (
                "net/ipv4/ip_forward",
                "net/ipv4/conf/all/route_localnet",
                "net/bridge/bridge-nf-call-iptables",
            ):
                Path("/proc/sys", setting).write_text("1")

        within(self.node, set_up_kernel)

    def _connect(self, namespace: str, port: str, address: str, gateway: str) -> None:
        ip("-n", self.node, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        ip("-n", namespace, "address", "add", address, "dev", "eth0")
        ip("-n", namespace, "link", "set", "eth0", "up")
        ip("-n", namespace, "route", "add", "default", "via", gateway)

    def remove(self) -> None:
        for name in (self.outside, *self.pods, self.node):
            subprocess.run([str(IP), "netns", "delete", name], capture_output=True, check=False)


def ip(*arguments: str) -> None:
    finished = subprocess.run([str(IP), *arguments], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {finished.stderr}")


def within(namespace: str, action: Callable[[], T]) -> T:
    """Do `action` in a thread of the namespace."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with open(f"/run/netns/{namespace}", "rb") as file:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


class EchoServer:
    """Answers every TCP connection and UDP datagram with its own name and the peer's address."""

    def __init__(self, namespace: str, name: str, port: int) -> None:
        self._name = name
        self._tcp = within(namespace, lambda: socket.create_server(("0.0.0.0", port)))
        self._udp = within(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._udp.bind(("0.0.0.0", port))
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._serve_tcp, self._serve_udp)]
        for thread in self._threads:
            thread.start()

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, peer = self._tcp.accept()
            except OSError:
                return
            with connection:
                connection.sendall(f"{self._name} {peer[0]}".encode())

    def _serve_udp(self) -> None:
        while True:
            try:
                data, peer = self._udp.recvfrom(100)
                if not data:
                    return
                self._udp.sendto(f"{self._name} {peer[0]}".encode(), peer)
            except OSError:
                return

    def close(self) -> None:
        for one in (self._tcp, self._udp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(2)


def ask(namespace: str, address: str, port: int, *, timeout_s: float = 2.0) -> tuple[str, str]:
    """Over TCP: the name of the server that answered, and the address it saw. Raises OSError."""
    with within(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as connection:
        connection.settimeout(timeout_s)
        connection.connect((address, port))
        name, peer = connection.recv(100).decode().split()
        return name, peer


def ask_udp(
    namespace: str, address: str, port: int, *, source_port: int = 0, timeout_s: float = 2.0
) -> tuple[str, str]:
    """The same over UDP."""
    with within(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as connection:
        connection.settimeout(timeout_s)
        connection.bind(("0.0.0.0", source_port))
        connection.connect((address, port))
        connection.send(b"?")
        name, peer = connection.recv(100).decode().split()
        return name, peer
