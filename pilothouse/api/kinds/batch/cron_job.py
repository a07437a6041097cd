"""CronJob."""

from __future__ import annotations

from pilothouse.api import gvr
from pilothouse.api.resource import STATUS, Resource

CRON_JOB = Resource(
    gvr.CRON_JOBS,
    short_names=("cj",),
    categories=("all",),
    subresources=(STATUS,),
)
