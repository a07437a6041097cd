"""How a component reaches the API server: by a kubeconfig, or with none at all on the same machine."""

from __future__ import annotations

from pathlib import Path

from pilothouse.client import kubeconfig
from pilothouse.client.client import Client
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import Flag

KUBECONFIG = Flag("kubeconfig", "", "kubeconfig file with the API server's address and the component's credentials")


def connect(path: str, component: str) -> Client:
    """A client for the kubeconfig at `path`. Raises Fatal."""
    if not path:
        raise Fatal(f"--kubeconfig is missing: it says where the API server is and who the {component} is")
    try:
        return kubeconfig.load(Path(path), user_agent=f"pilothouse-{component}")
    except (kubeconfig.KubeconfigError, OSError) as error:
        raise Fatal(str(error)) from error
