"""`pilothouse scheduler`: the scheduler as a process."""

from __future__ import annotations

import asyncio

from pilothouse.client.informer import InformerFactory
from pilothouse.kit.clock import SystemClock
from pilothouse.main import election
from pilothouse.main.component import Component
from pilothouse.main.connect import KUBECONFIG, connect
from pilothouse.main.flags import Values
from pilothouse.scheduler.scheduler import Scheduler, SchedulerOptions

NAME = "kube-scheduler"
FLAGS = (KUBECONFIG, *election.FLAGS)


async def run(values: Values) -> None:
    clock = SystemClock()
    client = connect(values.kubeconfig, "scheduler")

    async def work() -> None:
        informers = InformerFactory(client, clock)
        scheduler = Scheduler(client, informers, SchedulerOptions(), clock)
        async with asyncio.TaskGroup() as group:
            group.create_task(informers.run())
            group.create_task(scheduler.run())

    await election.lead(NAME, client, values, clock, work)


COMPONENT = Component("scheduler", FLAGS, run)
