"""Mechanisms that know nothing of Kubernetes: time, tasks, queues, the HTTP edge, keys and certificates, logs, metrics."""
