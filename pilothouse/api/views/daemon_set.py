"""What is written on DaemonSets."""

from __future__ import annotations

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""The annotation that counts changes of the pod template: `apps/v1beta2` had a field for it."""
