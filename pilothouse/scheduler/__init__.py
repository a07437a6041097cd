"""Binds pods to nodes: a queue, node state in numpy columns, plugins that filter and score all nodes at once, binding."""
