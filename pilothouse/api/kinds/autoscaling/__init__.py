"""The kinds of `autoscaling`."""
