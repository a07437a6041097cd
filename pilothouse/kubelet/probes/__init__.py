"""Probes: what one probe does (`actions`), and when which container is probed (`prober`)."""
