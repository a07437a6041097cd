"""The default profile: upstream's plugins in upstream's order with upstream's weights."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api.selector import LabelSelector
from pilothouse.scheduler.framework import Profile
from pilothouse.scheduler.plugins.image_locality import ImageLocality
from pilothouse.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from pilothouse.scheduler.plugins.node_affinity import NodeAffinity
from pilothouse.scheduler.plugins.node_name import NodeName
from pilothouse.scheduler.plugins.node_ports import NodePorts
from pilothouse.scheduler.plugins.node_resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from pilothouse.scheduler.plugins.node_unschedulable import NodeUnschedulable
from pilothouse.scheduler.plugins.pod_topology_spread import PodTopologySpread
from pilothouse.scheduler.plugins.taint_toleration import TaintToleration
from pilothouse.scheduler.plugins.volume_binding import VolumeBinding
from pilothouse.scheduler.pod import PodInfo


def default_profile(siblings: Callable[[PodInfo], LabelSelector | None] = lambda pod: None) -> Profile:
    taints, affinity, fit = TaintToleration(), NodeAffinity(), NodeResourcesFit()
    spread, inter_pod = PodTopologySpread(siblings), InterPodAffinity()
    return Profile(
        filters=(
            NodeUnschedulable(),
            NodeName(),
            taints,
            affinity,
            NodePorts(),
            fit,
            VolumeBinding(),
            spread,
            inter_pod,
        ),
        scores=(
            (taints, 3),
            (affinity, 2),
            (fit, 1),
            (spread, 2),
            (inter_pod, 2),
            (NodeResourcesBalancedAllocation(), 1),
            (ImageLocality(), 1),
        ),
    )
