"""Measures what the design promises: every figure comes from a run on this machine and is shown beside its budget.

`python -m bench` starts clusters of its own in a temporary directory and on free ports, and removes them however it ends.
"""
