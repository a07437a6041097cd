"""Probes and lifecycle hooks of a container. Source: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from pilothouse.api import names
from pilothouse.api.path import Path, field_forbidden, invalid, not_supported, required
from pilothouse.api.validate.values import (
    NOT_NEGATIVE,
    Errors,
    Part,
    check_name,
    check_port_or_name,
    check_present,
)

_COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_PROBE_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")
_MORE_THAN_ONE = "may not specify more than 1 handler type"
_REAL_TIME = (
    *(f"SIGRTMIN{f'+{i}' if i else ''}" for i in range(16)),
    *(f"SIGRTMAX{f'-{i}' if i else ''}" for i in range(14, -1, -1)),
)
_LINUX_SIGNALS = tuple(sorted((
    "SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGIO", "SIGIOT",
    "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT", "SIGSEGV", "SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTERM",
    "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ",
    *_REAL_TIME,
)))  # fmt: skip
_WINDOWS_SIGNALS = ("SIGKILL", "SIGTERM")


def check_probes(container: Part, grace_period_s: int | None, path: Path, errors: Errors) -> None:
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(field)
        if probe is None:
            continue
        here = path.child(field)
        _check_handler(probe, _PROBE_HANDLERS, grace_period_s, here, errors)
        for count in _COUNTS:
            value = probe.get(count, 0)
            if value < 0:
                errors.append(invalid(here.child(count), value, NOT_NEGATIVE))
        grace = probe.get("terminationGracePeriodSeconds")
        if grace is not None and grace <= 0:
            errors.append(invalid(here.child("terminationGracePeriodSeconds"), grace, "must be greater than 0"))
        if field == "readinessProbe":
            if grace is not None:
                text = "must not be set for readinessProbes"
                errors.append(invalid(here.child("terminationGracePeriodSeconds"), grace, text))
        elif probe.get("successThreshold", 0) != 1:
            shown = probe.get("successThreshold", 0)
            errors.append(invalid(here.child("successThreshold"), shown, "must be 1"))


def check_lifecycle(lifecycle: Part, grace_period_s: int | None, os: Part | None, path: Path, errors: Errors) -> None:
    for field in ("postStart", "preStop"):
        if (hook := lifecycle.get(field)) is not None:
            _check_handler(hook, _HOOK_HANDLERS, grace_period_s, path.child(field), errors)
    if (signal := lifecycle.get("stopSignal")) is not None:
        here = path.child("stopSignal")
        if os is None:
            errors.append(field_forbidden(here, "may not be set for containers with empty `spec.os.name`"))
            return
        known = _WINDOWS_SIGNALS if os.get("name") == "windows" else _LINUX_SIGNALS
        if signal not in known:
            errors.append(not_supported(here, signal, known))


def _check_handler(
    part: Part, handlers: tuple[str, ...], grace_period_s: int | None, path: Path, errors: Errors
) -> None:
    found = ""
    for handler in handlers:
        action = part.get(handler)
        if action is None:
            continue
        if found:
            errors.append(field_forbidden(path.child(handler), _MORE_THAN_ONE))
            continue
        found = handler
        _check_action(handler, action, grace_period_s, path.child(handler), errors)
    if not found:
        errors.append(required(path, "must specify a handler type"))


def _check_action(handler: str, action: Part, grace_period_s: int | None, path: Path, errors: Errors) -> None:
    if handler == "exec":
        check_present(action, "command", path, errors)
    elif handler == "httpGet":
        check_present(action, "path", path, errors)
        check_port_or_name(action.get("port", 0), path.child("port"), errors)
        if action.get("scheme") not in ("HTTP", "HTTPS"):
            errors.append(not_supported(path.child("scheme"), action.get("scheme", ""), ("HTTP", "HTTPS")))
        for header in action.get("httpHeaders") or ():
            check_name(names.http_header_name, header.get("name", ""), path.child("httpHeaders"), errors)
    elif handler == "sleep":
        seconds = action.get("seconds", 0)
        if grace_period_s is not None and not 0 <= seconds <= grace_period_s:
            text = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_period_s})"
            errors.append(invalid(path, seconds, text))
    else:
        check_port_or_name(action.get("port", 0), path.child("port"), errors)
