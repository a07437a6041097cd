"""API groups that other servers serve, behind this one. Source: kube-aggregator."""
