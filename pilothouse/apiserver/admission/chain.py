"""The order of admission plugins, and the chain that runs those that are on.

For each kind of write the chain keeps the list of plugins that want it, so a write costs nothing for the others.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

from pilothouse.api.status import StatusError
from pilothouse.apiserver.admission.certificates import (
    CertificateApproval,
    CertificateSigning,
    CertificateSubjectRestriction,
)
from pilothouse.apiserver.admission.default_class import DefaultIngressClass, DefaultStorageClass
from pilothouse.apiserver.admission.expressions import Expressions
from pilothouse.apiserver.admission.limit_ranger import LimitRanger
from pilothouse.apiserver.admission.measures import AdmissionMeasures
from pilothouse.apiserver.admission.namespace import NamespaceLifecycle
from pilothouse.apiserver.admission.node import NodeRestriction, TaintNodesByCondition
from pilothouse.apiserver.admission.plugin import EVERYTHING, Plugin
from pilothouse.apiserver.admission.pod_security.plugin import PodSecurity
from pilothouse.apiserver.admission.policies.mutating import FindStruct, MutatingAdmissionPolicy
from pilothouse.apiserver.admission.policies.source import FindParams
from pilothouse.apiserver.admission.policies.validating import ValidatingAdmissionPolicy
from pilothouse.apiserver.admission.priority import Priority
from pilothouse.apiserver.admission.resource_quota import ResourceQuota, WriteStatus
from pilothouse.apiserver.admission.runtime_class import RuntimeClass
from pilothouse.apiserver.admission.service_account import ServiceAccount
from pilothouse.apiserver.admission.storage import PersistentVolumeClaimResize, StorageObjectInUseProtection
from pilothouse.apiserver.admission.tolerations import DefaultTolerationSeconds
from pilothouse.apiserver.admission.topology_labels import PodTopologyLabels
from pilothouse.apiserver.admission.webhooks.plugins import MutatingAdmissionWebhook, ValidatingAdmissionWebhook
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.authz.attributes import Authorizer
from pilothouse.apiserver.metrics.admission import ADMIT, VALIDATE, AdmissionTimes
from pilothouse.apiserver.objects import Objects
from pilothouse.apiserver.webhooks.client import WebhookClient
from pilothouse.kit.clock import Clock, SystemClock

NamedStep = tuple[str, Callable[[Attributes], Awaitable[None]], Callable[[float], None]]
"""A plugin, what it does, and who is told how long that took."""

PLUGINS: tuple[type[Plugin], ...] = (
    NamespaceLifecycle,
    LimitRanger,
    ServiceAccount,
    NodeRestriction,
    TaintNodesByCondition,
    PodSecurity,
    Priority,
    DefaultTolerationSeconds,
    DefaultStorageClass,
    StorageObjectInUseProtection,
    PersistentVolumeClaimResize,
    RuntimeClass,
    CertificateApproval,
    CertificateSigning,
    CertificateSubjectRestriction,
    DefaultIngressClass,
    PodTopologyLabels,
    MutatingAdmissionPolicy,
    MutatingAdmissionWebhook,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionWebhook,
    ResourceQuota,
)
"""All plugins there are, in upstream's order."""

DEFAULT_OFF = frozenset({"NodeRestriction"})
"""Plugins that run only where they are enabled by name; upstream's default as well."""


class Chain:
    """The plugins that are on. `always` are checks that no flag turns off."""

    def __init__(
        self,
        plugins: Sequence[Plugin],
        always: Sequence[Plugin] = (),
        measures: AdmissionMeasures | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.measures = measures
        self.plugins = (*plugins, *always)
        self.times = AdmissionTimes(clock or SystemClock())
        self._mutators: dict[tuple[str, str, str, str], tuple[NamedStep, ...]] = {}
        self._validators: dict[tuple[str, str, str, str], tuple[NamedStep, ...]] = {}

    async def mutate(self, attributes: Attributes) -> None:
        gvr = attributes.resource.gvr
        key = gvr.plural, gvr.group, attributes.subresource, attributes.operation
        steps = self._mutators.get(key)
        if steps is None:
            wanted = (plugin for plugin in self.plugins if plugin.mutates() and _wants(plugin, attributes))
            steps = self._mutators[key] = tuple(
                (plugin.name, plugin.mutate, self.times.plugin(plugin.name, ADMIT, attributes.operation))
                for plugin in wanted
            )
        await self._run(steps, attributes, ADMIT)
        rounds = attributes.reinvocation
        if rounds is not None and rounds.is_needed:
            # What was called out to has changed the object: the plugins see it once more, and those who asked for it as well.
            rounds.is_second = True
            await self._run(steps, attributes, ADMIT)

    async def validate(self, attributes: Attributes) -> None:
        gvr = attributes.resource.gvr
        key = gvr.plural, gvr.group, attributes.subresource, attributes.operation
        steps = self._validators.get(key)
        if steps is None:
            wanted = (plugin for plugin in self.plugins if plugin.validates() and _wants(plugin, attributes))
            steps = self._validators[key] = tuple(
                (plugin.name, plugin.validate, self.times.plugin(plugin.name, VALIDATE, attributes.operation))
                for plugin in wanted
            )
        await self._run(steps, attributes, VALIDATE)

    async def _run(self, steps: tuple[NamedStep, ...], attributes: Attributes, kind: str) -> None:
        times = self.times
        operation = attributes.operation
        began = last = times.now()
        running = ""
        try:
            for name, step, took in steps:
                running = name
                await step(attributes)
                now = times.now()
                took(now - last)
                last = now
        except StatusError:
            times.rejected(running, kind, operation, last)
            times.step(kind, operation, began, is_rejected=True)
            raise
        times.step(kind, operation, began)


def _wants(plugin: Plugin, attributes: Attributes) -> bool:
    if attributes.operation not in plugin.operations:
        return False
    if plugin.subresources is not EVERYTHING and attributes.subresource not in plugin.subresources:
        return False
    return plugin.resources is EVERYTHING or attributes.resource.gvr.group_resource in plugin.resources


def build(
    objects: Objects,
    authorizer: Authorizer,
    clock: Clock,
    rng: random.Random,
    write_quota_status: WriteStatus,
    webhooks: WebhookClient,
    find_params: FindParams,
    find_struct: FindStruct,
    *,
    enable: Sequence[str] = (),
    disable: Sequence[str] = (),
    always: Sequence[Plugin] = (),
) -> Chain:
    """The chain for `--enable-admission-plugins` and `--disable-admission-plugins`. Raises ValueError for an unknown name."""
    known = {plugin.name for plugin in PLUGINS}
    for name in (*enable, *disable):
        if name not in known:
            raise ValueError(f"unknown admission plugin {name!r}; known: {', '.join(sorted(known))}")
    if both := set(enable) & set(disable):
        raise ValueError(f"admission plugins both enabled and disabled: {', '.join(sorted(both))}")
    expressions = Expressions(authorizer)
    measures = AdmissionMeasures(clock)
    made: dict[type[Plugin], Callable[[], Plugin]] = {
        NamespaceLifecycle: lambda: NamespaceLifecycle(objects),
        LimitRanger: lambda: LimitRanger(objects),
        ServiceAccount: lambda: ServiceAccount(objects, clock, rng),
        NodeRestriction: lambda: NodeRestriction(objects),
        TaintNodesByCondition: TaintNodesByCondition,
        PodSecurity: lambda: PodSecurity(objects, clock),
        Priority: lambda: Priority(objects),
        DefaultTolerationSeconds: DefaultTolerationSeconds,
        DefaultStorageClass: lambda: DefaultStorageClass(objects),
        StorageObjectInUseProtection: StorageObjectInUseProtection,
        PersistentVolumeClaimResize: lambda: PersistentVolumeClaimResize(objects),
        RuntimeClass: lambda: RuntimeClass(objects),
        CertificateApproval: lambda: CertificateApproval(authorizer),
        CertificateSigning: lambda: CertificateSigning(authorizer),
        CertificateSubjectRestriction: CertificateSubjectRestriction,
        DefaultIngressClass: lambda: DefaultIngressClass(objects),
        PodTopologyLabels: lambda: PodTopologyLabels(objects),
        MutatingAdmissionWebhook: lambda: MutatingAdmissionWebhook(objects, webhooks, expressions, rng, measures),
        MutatingAdmissionPolicy: lambda: MutatingAdmissionPolicy(
            objects, expressions, find_params, find_struct, measures
        ),
        ValidatingAdmissionPolicy: lambda: ValidatingAdmissionPolicy(objects, expressions, find_params, measures),
        ValidatingAdmissionWebhook: lambda: ValidatingAdmissionWebhook(objects, webhooks, expressions, rng, measures),
        ResourceQuota: lambda: ResourceQuota(objects, write_quota_status, clock),
    }
    on = (
        plugin
        for plugin in PLUGINS
        if plugin.name in enable or (plugin.name not in DEFAULT_OFF and plugin.name not in disable)
    )
    return Chain([made[plugin]() for plugin in on], always, measures, clock)
