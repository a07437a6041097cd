"""The process of `pilothouse up` that runs controllers and scheduler: one copy of the cluster's objects serves both."""

from __future__ import annotations

import asyncio

from pilothouse.client.informer import InformerFactory
from pilothouse.kit.clock import SystemClock
from pilothouse.main import controller_manager, credentials
from pilothouse.main.component import Component, supervised_paths
from pilothouse.main.connect import connect
from pilothouse.main.flags import Values, parse
from pilothouse.main.settings import load
from pilothouse.scheduler.scheduler import Scheduler, SchedulerOptions


async def run(values: Values) -> None:
    """Everything at once: there is one of these processes, so none has to be elected."""
    paths = supervised_paths()
    settings = load(paths)
    assert settings is not None, "the supervisor starts nothing without settings"
    clock = SystemClock()
    client = connect(str(credentials.kubeconfig_path(paths, credentials.CONTROLLER_MANAGER)), "controller-manager")
    binder = connect(str(credentials.kubeconfig_path(paths, credentials.SCHEDULER)), "scheduler")
    flags = parse(
        "controller-manager",
        controller_manager.FLAGS,
        [
            f"--cluster-cidr={settings.pod_cidr}",
            f"--service-cluster-ip-range={settings.service_cidr}",
            f"--root-ca-file={paths.pki / 'ca.crt'}",
            f"--cluster-signing-cert-file={paths.pki / 'ca.crt'}",
            f"--cluster-signing-key-file={paths.pki / 'ca.key'}",
        ],
    )
    informers = InformerFactory(client, clock)
    controllers = controller_manager.controllers(client, informers, clock, flags)
    scheduler = Scheduler(binder, informers, SchedulerOptions(), clock)
    async with asyncio.TaskGroup() as group:
        group.create_task(controllers.run())
        group.create_task(scheduler.run())


COMPONENT = Component("control", (), run)
