"""What the flags `--audit-*` set up."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from pilothouse.api.meta import Object
from pilothouse.kit.clock import Clock
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import Flag, Values, boolean, duration, integer, number, one_of

if TYPE_CHECKING:
    from pilothouse.apiserver.audit.auditor import Auditor
    from pilothouse.apiserver.audit.buffer import BatchConfig
    from pilothouse.apiserver.audit.sink import Losses, Sink

BATCH, BLOCKING, STRICT = "batch", "blocking", "blocking-strict"
_VERSION = "audit.k8s.io/v1"
_mode = one_of(BATCH, BLOCKING, STRICT)


def _sink_flags(sink: str, mode: str, batch: int, wait_s: float, throttles: bool) -> tuple[Flag, ...]:
    prefix, if_batch = f"audit-{sink}", "in batch mode"
    return (
        Flag(f"{prefix}-mode", mode, "batch, blocking or blocking-strict: whether requests wait for the record", _mode),
        Flag(f"{prefix}-version", _VERSION, "version in which events are written", one_of(_VERSION)),
        Flag(f"{prefix}-batch-buffer-size", 10000, f"events that may wait, {if_batch}", integer),
        Flag(f"{prefix}-batch-max-size", batch, f"events written together at most, {if_batch}", integer),
        Flag(f"{prefix}-batch-max-wait", wait_s, f"how long a batch waits to be full, {if_batch}", duration),
        Flag(
            f"{prefix}-batch-throttle-enable", throttles, f"whether batches are limited in number, {if_batch}", boolean
        ),
        Flag(f"{prefix}-batch-throttle-qps", 10.0 if throttles else 0.0, f"batches a second, {if_batch}", number),
        Flag(f"{prefix}-batch-throttle-burst", 15 if throttles else 0, f"batches at once, {if_batch}", integer),
        Flag(f"{prefix}-truncate-enabled", False, "whether large events lose their objects", boolean),
        Flag(f"{prefix}-truncate-max-batch-size", 10 << 20, "bytes of events written together at most", integer),
        Flag(f"{prefix}-truncate-max-event-size", 100 << 10, "bytes of an event at most", integer),
    )


FLAGS = (
    Flag("audit-policy-file", "", "file that says which requests are recorded; nothing is without it"),
    Flag("audit-log-path", "", "file to record requests in; - is the standard output"),
    Flag(
        "audit-log-format", "json", "json or legacy, which is a line of text for each event", one_of("legacy", "json")
    ),
    Flag("audit-log-maxsize", 100, "megabytes after which the file is put aside; 0 is never", integer),
    Flag("audit-log-maxbackup", 100, "how many old files are kept; 0 is all", integer),
    Flag("audit-log-maxage", 366, "days for which old files are kept; 0 is for ever", integer),
    Flag("audit-log-compress", False, "whether old files are compressed with gzip", boolean),
    *_sink_flags("log", BLOCKING, 1, 0.0, False),
    Flag("audit-webhook-config-file", "", "kubeconfig of a server that is told of requests"),
    Flag("audit-webhook-initial-backoff", 10.0, "how long to wait before telling it again", duration),
    *_sink_flags("webhook", BATCH, 400, 30.0, True),
)


def build_auditor(
    values: Values, clock: Clock, rng: random.Random, document: Callable[[str, str], Object]
) -> Auditor | None:
    """None where nothing is to be recorded. `document` reads the object in the file of a flag. Raises Fatal, OSError."""
    if not values.audit_policy_file or not (values.audit_log_path or values.audit_webhook_config_file):
        return None
    from pilothouse.apiserver.audit.auditor import Auditor
    from pilothouse.apiserver.audit.policy import Policy, PolicyError
    from pilothouse.apiserver.audit.sink import Losses

    try:
        policy = Policy(document("audit-policy-file", values.audit_policy_file))
    except PolicyError as error:
        raise Fatal(f"--audit-policy-file {values.audit_policy_file}: {error}") from error
    losses = Losses()
    sinks = []
    if values.audit_log_path:
        sinks.append(_behind(_file_sink(values, losses, clock), "log", values, losses, clock))
    if values.audit_webhook_config_file:
        sinks.append(_behind(_webhook_sink(values, losses, clock, rng), "webhook", values, losses, clock))
    return Auditor(policy, sinks, losses, clock)


def _file_sink(values: Values, losses: Losses, clock: Clock) -> Sink:
    from pilothouse.apiserver.audit.log_file import LogFile
    from pilothouse.apiserver.audit.sink import FileSink

    for flag in ("maxage", "maxbackup", "maxsize"):
        if (value := getattr(values, f"audit_log_{flag}")) < 0:
            raise Fatal(f"--audit-log-{flag} {value} can't be a negative number")
    file = LogFile(
        values.audit_log_path,
        clock,
        max_bytes=values.audit_log_maxsize << 20,
        max_backups=values.audit_log_maxbackup,
        max_age_days=values.audit_log_maxage,
        compresses=values.audit_log_compress,
    )
    return FileSink(file, losses, clock, values.audit_log_format)


def _webhook_sink(values: Values, losses: Losses, clock: Clock, rng: random.Random) -> Sink:
    from pilothouse.apiserver.audit.sink import WebhookSink
    from pilothouse.apiserver.webhooks.remote import RemoteWebhook, read_endpoint
    from pilothouse.kit.backoff import BackoffPolicy

    try:
        endpoint = read_endpoint(values.audit_webhook_config_file)
    except ValueError as error:
        raise Fatal(f"initializing audit webhook: {error}") from error
    initial_s = values.audit_webhook_initial_backoff
    retry = BackoffPolicy(initial_s, initial_s * 100, factor=1.5, jitter=0.2)
    return WebhookSink(RemoteWebhook(endpoint, clock, rng, retry=retry, retries_all=True), losses, clock)


def _behind(sink: Sink, name: str, values: Values, losses: Losses, clock: Clock) -> Sink:
    """The sink behind what its flags put before it."""
    from pilothouse.apiserver.audit.buffer import Buffered
    from pilothouse.apiserver.audit.sink import Forgiving, Truncated

    mode = getattr(values, f"audit_{name}_mode")
    if mode == BATCH:
        sink = Buffered(sink, _batches(values, name), losses, clock)
    elif mode == BLOCKING:
        sink = Forgiving(sink)
    event_bytes = getattr(values, f"audit_{name}_truncate_max_event_size")
    batch_bytes = getattr(values, f"audit_{name}_truncate_max_batch_size")
    if event_bytes <= 0:
        raise Fatal(f"invalid audit truncate {name} max event size {event_bytes}, must be a positive number")
    if batch_bytes < event_bytes:
        raise Fatal(
            f"invalid audit truncate {name} max batch size {batch_bytes}, must be greater than max event size ({event_bytes})"
        )
    if getattr(values, f"audit_{name}_truncate_enabled"):
        return Truncated(sink, losses, max_event_bytes=event_bytes, max_batch_bytes=batch_bytes)
    return sink


def _batches(values: Values, name: str) -> BatchConfig:
    """Raises Fatal."""
    from pilothouse.apiserver.audit.buffer import BatchConfig

    def of(field: str) -> float:
        value: float = getattr(values, f"audit_{name}_batch_{field}")
        return value

    throttles = bool(of("throttle_enable"))
    needed = ["buffer_size", "max_size", *(("throttle_qps", "throttle_burst") if throttles else ())]
    for field in needed:
        if of(field) <= 0:
            shown = field.replace("max_size", "max batch size").replace("qps", "QPS").replace("_", " ")
            raise Fatal(f"invalid audit batch {name} {shown} {of(field):g}, must be a positive number")
    return BatchConfig(
        int(of("buffer_size")),
        int(of("max_size")),
        of("max_wait"),
        of("throttle_qps") if throttles else 0.0,
        int(of("throttle_burst")),
        is_async=name == "webhook",
    )
