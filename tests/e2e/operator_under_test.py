"""An operator by kopf: a kind of its own, whose objects have a ConfigMap each. Run by `kopf run`, as its users do."""

from __future__ import annotations

import os

import kopf


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: object) -> None:
    settings.posting.level = 20
    settings.persistence.finalizer = "kopf.example.com/guard"
    certificates = os.environ["CERTIFICATES"]
    settings.admission.managed = "operator.kopf.example.com"
    settings.admission.server = kopf.WebhookServer(
        addr="127.0.0.1",
        host="127.0.0.1",
        cafile=f"{certificates}/ca.crt",
        certfile=f"{certificates}/hook.crt",
        pkeyfile=f"{certificates}/hook.key",
    )


@kopf.on.validate("kopf.example.com", "v1", "lamps")
def bright(spec: kopf.Spec, warnings: list[str], **_: object) -> None:
    if spec.get("watts", 0) > 100:
        raise kopf.AdmissionError("too bright", code=400)
    if spec.get("watts", 0) > 50:
        warnings.append("rather bright")


@kopf.on.mutate("kopf.example.com", "v1", "lamps", operation="CREATE")
def coloured_by_default(spec: kopf.Spec, patch: kopf.Patch, **_: object) -> None:
    if "colour" not in spec:
        patch.spec["colour"] = "white"


@kopf.on.create("kopf.example.com", "v1", "lamps")
def created(spec: kopf.Spec, name: str, namespace: str | None, patch: kopf.Patch, **_: object) -> dict[str, str]:
    patch.status["lit"] = True
    return {"for": f"{namespace}/{name}", "watts": str(spec.get("watts"))}


@kopf.on.update("kopf.example.com", "v1", "lamps", field="spec.watts")
def changed(old: int, new: int, patch: kopf.Patch, **_: object) -> None:
    patch.status["change"] = f"{old} to {new}"


@kopf.on.delete("kopf.example.com", "v1", "lamps")
def deleted(body: kopf.Body, spec: kopf.Spec, retry: int, **_: object) -> None:
    if retry == 0:
        raise kopf.TemporaryError("once more", delay=0.1)
    kopf.info(body, reason="Dimmed", message="the lamp is dark")


@kopf.timer("kopf.example.com", "v1", "lamps", interval=0.5)
def ticks(status: kopf.Status, patch: kopf.Patch, **_: object) -> None:
    patch.status["ticks"] = status.get("ticks", 0) + 1


@kopf.daemon("kopf.example.com", "v1", "lamps")
async def watched(body: kopf.Body, stopped: kopf.DaemonStopped, **_: object) -> None:
    kopf.info(body, reason="Guarded", message="the daemon runs")
    await stopped.wait()


@kopf.on.field("", "v1", "configmaps", field="data.colour", labels={"kopf": "yes"})
def coloured(new: str | None, patch: kopf.Patch, **_: object) -> None:
    patch.metadata.annotations["seen"] = new or "none"
