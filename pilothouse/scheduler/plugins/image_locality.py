"""ImageLocality: prefers nodes that have the pod's images, by size and by how widely an image is spread already."""

from __future__ import annotations

import numpy as np

from pilothouse.scheduler.columns import Mask
from pilothouse.scheduler.framework import MAX_SCORE, Cluster, Scores
from pilothouse.scheduler.pod import PodInfo

MEGABYTE = 1024 * 1024
LEAST_BYTES = 23 * MEGABYTE
MOST_BYTES_EACH = 1000 * MEGABYTE


class ImageLocality:
    name = "ImageLocality"

    def score(self, pod: PodInfo, cluster: Cluster, feasible: Mask) -> Scores | None:
        columns = cluster.columns
        present = [sizes for image in pod.images if (sizes := columns.images.get(_with_tag(image)))]
        if not present:
            return None
        total = np.zeros(columns.capacity)
        for sizes in present:
            spread = len(sizes) / max(len(columns), 1)
            for row, size in sizes.items():
                total[row] += size * spread
        most = MOST_BYTES_EACH * len(pod.images)
        return np.floor(MAX_SCORE * (np.clip(total, LEAST_BYTES, most) - LEAST_BYTES) / (most - LEAST_BYTES))


def _with_tag(image: str) -> str:
    return image if ":" in image.rpartition("/")[2] or "@" in image else f"{image}:latest"
