"""The checks of the Pod Security Standards: which of them a level and a version ask for.

A check has a form for each minor version from which on it reads otherwise; a check of the restricted level may stand in for one of the
baseline. Source: `pod-security-admission/policy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

from pilothouse.apiserver.admission.pod_security import baseline, restricted
from pilothouse.apiserver.admission.pod_security.policy import LATEST, Level, Standard
from pilothouse.apiserver.admission.pod_security.violation import Form, Spec, Violation


def evaluate(standard: Standard, spec: Spec, annotations: Mapping[str, str]) -> list[Violation]:
    """All that a pod violates, baseline first."""
    found = (check(spec, annotations) for check in checks_of(standard))
    return [violation for violation in found if violation is not None]


def _is_windows(spec: Spec) -> bool:
    return (spec.get("os") or {}).get("name") == "windows"


def _unless_windows(form: Form, spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    return None if _is_windows(spec) else form(spec, annotations)


def _unless_user_namespace(form: Form, spec: Spec, annotations: Mapping[str, str]) -> Violation | None:
    return None if spec.get("hostUsers") is False else form(spec, annotations)


@dataclass(frozen=True, slots=True)
class Check:
    """A check with its forms, each from a minor version on; `replaces` is the baseline check that it makes needless."""

    id: str
    level: Level
    forms: tuple[tuple[int, Form], ...]
    replaces: str = ""

    def at(self, minor: int) -> Form | None:
        return next((form for since, form in reversed(self.forms) if since <= minor), None)


CHECKS: tuple[Check, ...] = (
    Check("appArmorProfile", Level.BASELINE, ((0, baseline.app_armor),)),
    Check("capabilities_baseline", Level.BASELINE, ((0, baseline.capabilities_baseline),)),
    Check("hostNamespaces", Level.BASELINE, ((0, baseline.host_namespaces),)),
    Check("hostPathVolumes", Level.BASELINE, ((0, baseline.host_path_volumes),)),
    Check("hostPorts", Level.BASELINE, ((0, baseline.host_ports),)),
    Check("hostProbesAndHostLifecycle", Level.BASELINE, ((34, baseline.host_probes),)),
    Check("privileged", Level.BASELINE, ((0, baseline.privileged),)),
    Check(
        "procMount",
        Level.BASELINE,
        ((0, baseline.proc_mount), (35, partial(_unless_user_namespace, baseline.proc_mount))),
    ),
    Check(
        "seLinuxOptions",
        Level.BASELINE,
        (
            (0, partial(baseline.se_linux, baseline.SELINUX_TYPES)),
            (31, partial(baseline.se_linux, baseline.SELINUX_TYPES | {"container_engine_t"})),
        ),
    ),
    Check("seccompProfile_baseline", Level.BASELINE, ((0, baseline.seccomp_annotations), (19, baseline.seccomp))),
    Check(
        "sysctls",
        Level.BASELINE,
        tuple(
            (minor, partial(baseline.sysctls, allowed))
            for minor, allowed in (
                (0, baseline.SYSCTLS_0),
                (27, baseline.SYSCTLS_27),
                (29, baseline.SYSCTLS_29),
                (32, baseline.SYSCTLS_32),
            )
        ),
    ),
    Check("windowsHostProcess", Level.BASELINE, ((0, baseline.windows_host_process),)),
    Check(
        "allowPrivilegeEscalation",
        Level.RESTRICTED,
        ((8, restricted.privilege_escalation), (25, partial(_unless_windows, restricted.privilege_escalation))),
    ),
    Check(
        "capabilities_restricted",
        Level.RESTRICTED,
        ((22, restricted.capabilities_restricted), (25, partial(_unless_windows, restricted.capabilities_restricted))),
        "capabilities_baseline",
    ),
    Check("procMount_restricted", Level.RESTRICTED, ((35, baseline.proc_mount),), "procMount"),
    Check("restrictedVolumes", Level.RESTRICTED, ((0, restricted.restricted_volumes),), "hostPathVolumes"),
    Check(
        "runAsNonRoot",
        Level.RESTRICTED,
        ((0, restricted.run_as_non_root), (35, partial(_unless_user_namespace, restricted.run_as_non_root))),
    ),
    Check(
        "runAsUser",
        Level.RESTRICTED,
        ((23, restricted.run_as_user), (35, partial(_unless_user_namespace, restricted.run_as_user))),
    ),
    Check(
        "seccompProfile_restricted",
        Level.RESTRICTED,
        (
            (19, partial(baseline.seccomp, is_required=True)),
            (25, partial(_unless_windows, partial(baseline.seccomp, is_required=True))),
        ),
        "seccompProfile_baseline",
    ),
)
"""All checks, in the order in which what they find is told."""

NEWEST_MINOR = max(since for check in CHECKS for since, _ in check.forms)


@lru_cache(64)
def checks_of(standard: Standard) -> tuple[Form, ...]:
    """The checks of a level in a version; versions that are yet to come are as the newest."""
    if standard.level is Level.PRIVILEGED:
        return ()
    minor = NEWEST_MINOR if standard.minor == LATEST else min(standard.minor, NEWEST_MINOR)
    wanted = [(check, form) for check in CHECKS if check.level <= standard.level and (form := check.at(minor))]
    replaced = {check.replaces for check, _ in wanted}
    return tuple(form for check, form in wanted if check.id not in replaced)
