"""The kinds of `batch`."""
