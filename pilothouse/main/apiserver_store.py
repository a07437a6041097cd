"""The store that an API server's flags ask for: a SQLite file of its own, or an etcd cluster that several servers share."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pilothouse.api.kinds.table import RESOURCES
from pilothouse.kit.clock import Clock
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import Values
from pilothouse.store.base import Store, prefix_of
from pilothouse.store.etcd.options import EtcdOptions
from pilothouse.store.sqlite import SqliteStore

ETCD_FLAGS = (
    "etcd-cafile",
    "etcd-certfile",
    "etcd-keyfile",
    "etcd-prefix",
    "etcd-compaction-interval",
    "etcd-servers-overrides",
    "lease-reuse-duration-seconds",
)


@dataclass(frozen=True, slots=True)
class Stores:
    """Where the cluster's state is; `others` have some resources' objects, by their prefix."""

    default: Store
    others: Mapping[str, Store] = field(default_factory=dict)

    def each(self, change: Callable[[Store], Store]) -> Stores:
        """The same with every store changed; one that several resources share stays one."""
        changed = {id(store): change(store) for store in self.others.values()}
        return Stores(change(self.default), {prefix: changed[id(store)] for prefix, store in self.others.items()})

    async def close(self) -> None:
        for store in (self.default, *{id(store): store for store in self.others.values()}.values()):
            await store.close()


async def open_stores(values: Values, clock: Clock, rng: random.Random) -> Stores:
    """Raises Fatal for flags that do not fit together, StoreUnavailable."""
    options = etcd_options(values)
    if options is None:
        return Stores(await SqliteStore.open(Path(values.database), clock))
    overrides = etcd_overrides(values, options)
    # gRPC and protobuf cost memory and start-up, which only those pay who use etcd.
    from pilothouse.store.etcd.store import EtcdStore

    opened: dict[EtcdOptions, EtcdStore] = {}
    try:
        for each in (options, *overrides.values()):
            if each not in opened:
                opened[each] = await EtcdStore.open(each, clock, rng)
    except BaseException:
        for store in opened.values():
            await store.close()
        raise
    return Stores(opened[options], {prefix: opened[each] for prefix, each in overrides.items()})


def etcd_overrides(values: Values, options: EtcdOptions) -> Mapping[str, EtcdOptions]:
    """The etcd clusters that have some resources' objects, by their prefix. Raises Fatal."""
    by_name = {(resource.gvr.group, resource.gvr.plural): resource.gvr for resource in RESOURCES if resource.is_stored}
    overrides: dict[str, EtcdOptions] = {}
    for text in values.etcd_servers_overrides:
        name, has_servers, servers = text.partition("#")
        group, has_resource, plural = name.partition("/")
        if not (has_servers and has_resource):
            raise Fatal(
                f"--etcd-servers-overrides {text}: give group/resource#servers, with servers separated by semicolons"
            )
        gvr = by_name.get((group, plural))
        if gvr is None:
            raise Fatal(
                f"--etcd-servers-overrides {text}: there is no resource {plural!r} in group {group!r} with objects of its own"
            )
        overrides[prefix_of(gvr)] = _checked(
            replace(options, servers=tuple(servers.split(";"))), "etcd-servers-overrides"
        )
    return overrides


def _checked(options: EtcdOptions, flag: str) -> EtcdOptions:
    try:
        options.check()
    except ValueError as error:
        raise Fatal(f"--{flag}: {error}") from error
    return options


def etcd_options(values: Values) -> EtcdOptions | None:
    """What the flags say about etcd; None without --etcd-servers. Raises Fatal."""
    if not values.etcd_servers:
        for name in ETCD_FLAGS:
            if values.is_given(name):
                raise Fatal(f"--{name} means nothing without --etcd-servers")
        return None
    if values.is_given("database"):
        raise Fatal("--database and --etcd-servers exclude each other: a cluster's state is in one place")
    if bool(values.etcd_certfile) != bool(values.etcd_keyfile):
        raise Fatal("--etcd-certfile and --etcd-keyfile go together")
    return _checked(
        EtcdOptions(
            tuple(values.etcd_servers),
            authority=_pem("etcd-cafile", values.etcd_cafile),
            certificate=_pem("etcd-certfile", values.etcd_certfile),
            key=_pem("etcd-keyfile", values.etcd_keyfile),
            prefix=values.etcd_prefix,
            compaction_interval_s=values.etcd_compaction_interval,
            lease_reuse_s=values.lease_reuse_duration_seconds,
        ),
        "etcd-servers",
    )


def _pem(flag: str, file: str) -> Path | None:
    """A file that can be read now, and will be read again. Raises Fatal."""
    if not file:
        return None
    read_file(flag, file)
    return Path(file)


def read_file(flag: str, file: str) -> bytes:
    """The content of the file that a flag names. Raises Fatal."""
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise Fatal(f"--{flag} {file} cannot be read: {error.strerror}") from error
