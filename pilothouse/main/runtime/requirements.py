"""The programs and libraries that a node needs and does not ship, and the Debian packages that bring them."""

from __future__ import annotations

import ctypes.util
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

CNI_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
"""Where the CNI plugins may be: Debian's place first, then the one everyone else uses."""

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package, and what must be there of it. `plugins` are CNI plugins, `libraries` are names without `lib` and `.so`."""

    package: str
    programs: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()

    @property
    def is_met(self) -> bool:
        return (
            all(find_program(program) for program in self.programs)
            and all(any((directory / plugin).exists() for directory in CNI_DIRECTORIES) for plugin in self.plugins)
            and all(ctypes.util.find_library(library) for library in self.libraries)
        )


NODE_REQUIREMENTS = (
    Requirement("containerd", programs=("containerd", "containerd-shim-runc-v2", "ctr")),
    Requirement("runc", programs=("runc",)),
    Requirement("containernetworking-plugins", plugins=("bridge", "host-local", "loopback", "portmap")),
    Requirement("iptables", programs=("iptables",)),
    Requirement("nftables", programs=("nft",), libraries=("nftables",)),
    Requirement("conntrack", programs=("conntrack",)),
)


def find_program(name: str) -> str | None:
    """The path of a system program, also where `PATH` leaves out the `sbin` directories."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")


def cni_directory(required: Iterable[str] = ("bridge", "host-local", "loopback")) -> Path | None:
    """The directory that has all the `required` CNI plugins."""
    names = tuple(required)
    return next((path for path in CNI_DIRECTORIES if all((path / name).exists() for name in names)), None)


def missing_packages(requirements: Sequence[Requirement] = NODE_REQUIREMENTS) -> tuple[str, ...]:
    """The Debian packages to install, in order; empty if nothing is missing."""
    return tuple(requirement.package for requirement in requirements if not requirement.is_met)


def explain(packages: Sequence[str]) -> str:
    """One sentence that names the missing packages and what to do."""
    plural = "s" if len(packages) > 1 else ""
    return (
        f"this machine lacks the package{plural} {', '.join(packages)}, which real containers need: "
        f"run `apt-get install --no-install-recommends {' '.join(packages)}`, "
        "or start without containers: `pilothouse up --simulated 1`"
    )


if __name__ == "__main__":
    print(" ".join(missing_packages()))
