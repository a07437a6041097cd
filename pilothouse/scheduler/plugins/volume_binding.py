"""VolumeBinding: a pod's claims must be bound, to volumes that its node can reach."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.api.placement import term_matches
from pilothouse.scheduler.framework import Cluster, ClusterEvent, Rejection
from pilothouse.scheduler.pod import PodInfo


class VolumeBinding:
    name = "VolumeBinding"
    wakes_on = frozenset({ClusterEvent.NODE_ADDED, ClusterEvent.NODE_CHANGED, ClusterEvent.CLAIM_CHANGED})

    def filter(self, pod: PodInfo, cluster: Cluster) -> Iterable[Rejection]:
        columns = cluster.columns
        for name in pod.claims:
            claim = cluster.claim(f"{pod.namespace}/{name}")
            if claim is None:
                yield Rejection(columns.alive, f'persistentvolumeclaim "{name}" not found', is_final=True)
                return
            volume_name = (claim.get("spec") or {}).get("volumeName")
            if not volume_name or (claim.get("status") or {}).get("phase") != "Bound":
                yield Rejection(columns.alive, "pod has unbound immediate PersistentVolumeClaims", is_final=True)
                return
            volume = cluster.volume(volume_name)
            if volume is None:
                reason = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
                yield Rejection(columns.alive, reason)
                return
            required = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required")
            if required is not None:
                out_of_reach = np.zeros(columns.capacity, bool)
                for node_name, row in columns.rows.items():
                    labels = columns.nodes[node_name]["metadata"].get("labels") or {}
                    terms = required.get("nodeSelectorTerms") or ()
                    out_of_reach[row] = not any(term_matches(term, labels, node_name) for term in terms)
                yield Rejection(out_of_reach, "node(s) didn't match PersistentVolume's node affinity")
