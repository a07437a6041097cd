"""What every controller stands on: a queue of keys, workers that reconcile them, and the things a controller is built from.

A controller turns changes into keys and reconciles one key at a time; a key is never reconciled twice at once. What reconciling raises
is logged and the key comes back later and later; what it returns is when to look again. Nothing else is remembered: after a crash
the first lists bring every key back.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pilothouse.api import status
from pilothouse.api.meta import Object, key_of
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informer, InformerFactory
from pilothouse.kit.clock import Clock
from pilothouse.kit.log import get_logger
from pilothouse.kit.workqueue import WorkQueue

log = get_logger("pilothouse.controllers")

Observe = Callable[[str, float, bool], None]
"""Told of every reconcile: the controller's name, how many seconds it took, whether it succeeded."""


def _unobserved(name: str, seconds: float, succeeded: bool) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Options:
    """How the cluster is set up, as far as controllers care. Names follow upstream's flags."""

    cluster_cidrs: tuple[str, ...] = ("10.244.0.0/16",)
    """Pod networks, one for an address family; empty: nodes get no podCIDR."""
    service_cidrs: tuple[str, ...] = ("10.96.0.0/16",)
    node_cidr_mask_ipv4: int = 24
    node_cidr_mask_ipv6: int = 64
    root_ca: str = ""
    """PEM of the authority that signs the API server's certificate; empty: none is published."""
    signing_files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By signer: the authority that signs certificate requests, and its key, in PEM. Signers without one sign nothing."""
    signing_duration_s: float = 365 * 24 * 3600.0
    node_monitor_period_s: float = 5.0
    node_monitor_grace_s: float = 50.0
    node_startup_grace_s: float = 60.0
    node_eviction_per_second: float = 0.1
    secondary_node_eviction_per_second: float = 0.01
    unhealthy_zone_threshold: float = 0.55
    large_cluster_nodes: int = 50
    terminated_pod_threshold: int = 12500
    max_endpoints_per_slice: int = 100


Accounts = Callable[[str], Client]
"""The client of a ServiceAccount in kube-system."""


class Context:
    """What controllers are built from; shared by all of a process.

    With `accounts` every controller writes as a ServiceAccount of its own; informers read as `client` all the same.
    """

    def __init__(
        self,
        client: Client,
        informers: InformerFactory,
        clock: Clock,
        rng: random.Random,
        options: Options | None = None,
        *,
        observe: Observe = _unobserved,
        accounts: Accounts | None = None,
    ) -> None:
        self.client = client
        self.informers = informers
        self.clock = clock
        self.rng = rng
        self.options = options or Options()
        self.observe = observe
        self._accounts = accounts
        self.recorders: dict[str, EventRecorder] = {}

    def client_of(self, account: str) -> Client:
        """The client of a controller whose ServiceAccount is `account`."""
        return self.client if self._accounts is None else self._accounts(account)

    def recorder(self, component: str) -> EventRecorder:
        """The recorder of events from `component`; one for each name."""
        if component not in self.recorders:
            self.recorders[component] = EventRecorder(self.client, component, "", self.clock, rng=self.rng)
        return self.recorders[component]


class Controller(ABC):
    """One control loop. Subclasses subscribe to informers in their constructor and turn what they hear into keys."""

    name: ClassVar[str]
    account: ClassVar[str]
    """Its ServiceAccount in kube-system; upstream's name, which roles are bound to."""
    workers: ClassVar[int] = 5

    def __init__(self, context: Context) -> None:
        self.context = context
        self.client = context.client_of(self.account)
        self.clock = context.clock
        self.queue: WorkQueue[str] = WorkQueue(context.clock)
        self.sources: list[Informer] = []
        """Informers that must have their first list before the first key is reconciled."""

    @abstractmethod
    async def reconcile(self, key: str) -> float | None:
        """Bring what `key` names to where it should be. Returns the seconds after which to look again, if ever."""

    def background(self) -> Iterable[Callable[[], Awaitable[object]]]:
        """Further loops that run beside the workers."""
        return ()

    def follow(self, informer: Informer, *handlers: Callable[[Object | None, Object | None], None]) -> Informer:
        """Wait for `informer` before starting, and hear its changes."""
        self.sources.append(informer)
        for handler in handlers:
            informer.subscribe(handler)
        return informer

    def enqueue(self, old: Object | None, new: Object | None) -> None:
        """A handler that adds the changed object's own key."""
        obj = new if new is not None else old
        if obj is not None:
            self.queue.add(key_of(obj))

    async def run(self) -> None:
        """Reconcile until cancelled."""
        for source in self.sources:
            await source.synced.wait()
        try:
            async with asyncio.TaskGroup() as group:
                for loop in self.background():
                    group.create_task(_call(loop))
                await self._work(group)
        finally:
            self.queue.close()

    async def _work(self, group: asyncio.TaskGroup) -> None:
        free = asyncio.Semaphore(self.workers)
        while True:
            await free.acquire()
            key = await self.queue.get()
            task = group.create_task(self._reconcile(key), name=f"{self.name} {key}")
            task.add_done_callback(lambda _: free.release())

    async def _reconcile(self, key: str) -> None:
        started = self.clock.monotonic()
        succeeded = False
        try:
            again_s = await self.reconcile(key)
            succeeded = True
        except (status.Conflict, status.NotFound) as error:
            # Somebody was faster: the watch will bring what they did.
            log.debug("reconcile again", controller=self.name, key=key, reason=error.message)
        except status.StatusError as error:
            log.warning("reconcile failed", controller=self.name, key=key, reason=error.message)
        except ExceptionGroup as group:
            log.warning("reconcile failed", controller=self.name, key=key, reason=str(group.exceptions[0]))
        except Exception:
            log.exception("reconcile failed", controller=self.name, key=key)
        finally:
            self.queue.done(key)
        if not succeeded:
            self.queue.add_rate_limited(key)
        else:
            self.queue.forget(key)
            if again_s is not None:
                self.queue.add_after(key, again_s)
        self.context.observe(self.name, self.clock.monotonic() - started, succeeded)


async def _call(loop: Callable[[], Awaitable[object]]) -> None:
    await loop()


@dataclass(frozen=True, slots=True)
class Declaration:
    """A controller as the table lists it. `name` is upstream's, as `--controllers` takes it."""

    name: str
    build: Callable[[Context], Controller]
    enabled: bool = True


def select(table: Iterable[Declaration], names: Iterable[str] = ("*",)) -> tuple[Declaration, ...]:
    """The declarations that `names` choose: `foo` enables, `-foo` disables, `*` means all that are on by default.

    Raises ValueError for a name that the table does not have.
    """
    table, names = tuple(table), tuple(names)
    known = {declaration.name for declaration in table}
    for name in names:
        if name != "*" and name.removeprefix("-") not in known:
            raise ValueError(f'"{name.removeprefix("-")}" is not in the list of known controllers')
    return tuple(
        declaration
        for declaration in table
        if f"-{declaration.name}" not in names and (declaration.name in names or ("*" in names and declaration.enabled))
    )


class ControllerRuntime:
    """All controllers of a process, with their informers and event recorders."""

    def __init__(self, context: Context, declarations: Iterable[Declaration]) -> None:
        self.context = context
        self.controllers = tuple(declaration.build(context) for declaration in declarations)

    @property
    def is_idle(self) -> bool:
        """Whether no controller has a key ready or at work; for tests that wait for quiet."""
        return all(controller.queue.is_idle for controller in self.controllers)

    async def run(self, *, run_informers: bool = True) -> None:
        """Run until cancelled. `run_informers` is False where the factory is run by whoever shares it."""
        async with asyncio.TaskGroup() as group:
            if run_informers:
                group.create_task(self.context.informers.run(), name="informers")
            for recorder in self.context.recorders.values():
                group.create_task(recorder.run(), name="events")
            for controller in self.controllers:
                group.create_task(controller.run(), name=controller.name)
