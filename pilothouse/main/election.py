"""Leader election as a component's flags describe it."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Awaitable, Callable

from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.leader import Election, LeaderElector, LeadershipLost
from pilothouse.kit.clock import Clock
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import Flag, Values, boolean, duration

FLAGS = (
    Flag("leader-elect", True, "stand for election, and work only as the leader", boolean),
    Flag("leader-elect-lease-duration", 15.0, "how long others wait after the last renewal", duration),
    Flag("leader-elect-renew-deadline", 10.0, "how long a leader tries to renew before it steps down", duration),
    Flag("leader-elect-retry-period", 2.0, "how long to wait between attempts", duration),
    Flag("leader-elect-resource-name", "", "name of the Lease (default: that of the component)"),
    Flag("leader-elect-resource-namespace", "kube-system", "namespace of the Lease"),
)


async def lead(name: str, client: Client, values: Values, clock: Clock, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` at once, or only while this process is the leader. Raises Fatal when leadership is lost."""
    if not values.leader_elect:
        await work()
        return
    try:
        election = Election(
            name=values.leader_elect_resource_name or name,
            identity=f"{socket.gethostname()}_{uuid.UUID(bytes=os.urandom(16), version=4)}",
            namespace=values.leader_elect_resource_namespace,
            duration_s=values.leader_elect_lease_duration,
            renew_deadline_s=values.leader_elect_renew_deadline,
            retry_period_s=values.leader_elect_retry_period,
        )
    except ValueError as error:
        raise Fatal(f"the --leader-elect durations do not fit together: {error}") from error
    events = EventRecorder(client, name, "", clock)
    telling = asyncio.ensure_future(events.run())
    try:
        await LeaderElector(client, election, clock, events=events).run(work)
    except LeadershipLost as error:
        raise Fatal(str(error)) from error
    finally:
        telling.cancel()
