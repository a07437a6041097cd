"""Cluster DNS on every node: the names of Services and pods, and a way to all other names."""
