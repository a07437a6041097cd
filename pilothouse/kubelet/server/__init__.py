"""What a node answers for itself over HTTP: logs, exec, attach, port-forward, its pods, stats, metrics and health."""
