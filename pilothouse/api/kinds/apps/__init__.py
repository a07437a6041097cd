"""The kinds of `apps`."""
