"""Kinds whose objects are kept while nothing in a cluster of this version's own components acts on them.

Who writes one in such a cluster is told so by a warning, which kubectl shows: a client must not believe that something happens which does
not. A kind leaves this table when what acts on it is there. An API server by itself cannot know which components run beside it, and
does not warn.
"""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.api import gvr
from pilothouse.api.gvr import GVR

WITHOUT_EFFECT: Mapping[GVR, str] = {
    gvr.STATEFUL_SETS: "no controller runs its pods",
    gvr.DAEMON_SETS: "no controller runs its pods",
    gvr.CRON_JOBS: "no controller starts its jobs",
    gvr.HORIZONTAL_POD_AUTOSCALERS: "no controller scales its target",
    gvr.POD_DISRUPTION_BUDGETS: "no controller counts its pods",
    gvr.PERSISTENT_VOLUMES: "no controller binds it to a claim",
    gvr.PERSISTENT_VOLUME_CLAIMS: "no controller binds it to a volume",
    gvr.STORAGE_CLASSES: "nothing provisions volumes",
    gvr.CSI_DRIVERS: "no CSI volumes are mounted",
    gvr.VOLUME_ATTACHMENTS: "nothing attaches volumes",
    gvr.VOLUME_ATTRIBUTES_CLASSES: "nothing modifies volumes",
    gvr.INGRESSES: "no controller routes its traffic",
    gvr.NETWORK_POLICIES: "it is not enforced",
    gvr.RESOURCE_CLAIMS: "nothing allocates devices",
    gvr.RESOURCE_CLAIM_TEMPLATES: "nothing allocates devices",
}
"""By kind at its stored version: what does not happen."""


def warnings() -> Mapping[GVR, str]:
    """The warning for who writes an object, by kind."""
    return {
        kind: f"{kind.kind}.{kind.api_version} is stored, but in this version {missing}"
        for kind, missing in WITHOUT_EFFECT.items()
    }
