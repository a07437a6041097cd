"""The volumes of pods: `pod_volumes` makes those of a pod ready; each other module is a type of volume or a part of one."""
