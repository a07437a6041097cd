"""PodSecurity: how far pods of a namespace may reach into their node. Source: KEP-2579, upstream's `pod-security-admission`."""
