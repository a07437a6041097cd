"""The store that an API server's flags ask for: a SQLite file of its own, or an etcd cluster that several servers share."""

from __future__ import annotations

import random
from pathlib import Path

from pilothouse.kit.clock import Clock
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import Values
from pilothouse.store.base import Store
from pilothouse.store.etcd.options import EtcdOptions
from pilothouse.store.sqlite import SqliteStore

ETCD_FLAGS = (
    "etcd-cafile",
    "etcd-certfile",
    "etcd-keyfile",
    "etcd-prefix",
    "etcd-compaction-interval",
    "lease-reuse-duration-seconds",
)


async def open_store(values: Values, clock: Clock, rng: random.Random) -> Store:
    """Raises Fatal for flags that do not fit together, StoreUnavailable."""
    options = etcd_options(values)
    if options is None:
        return await SqliteStore.open(Path(values.database), clock)
    # gRPC and protobuf cost memory and start-up, which only those pay who use etcd.
    from pilothouse.store.etcd.store import EtcdStore

    return await EtcdStore.open(options, clock, rng)


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
    options = EtcdOptions(
        tuple(values.etcd_servers),
        authority=_pem("etcd-cafile", values.etcd_cafile),
        certificate=_pem("etcd-certfile", values.etcd_certfile),
        key=_pem("etcd-keyfile", values.etcd_keyfile),
        prefix=values.etcd_prefix,
        compaction_interval_s=values.etcd_compaction_interval,
        lease_reuse_s=values.lease_reuse_duration_seconds,
    )
    try:
        options.check()
    except ValueError as error:
        raise Fatal(f"--etcd-servers: {error}") from error
    return options


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
