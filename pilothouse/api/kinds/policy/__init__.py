"""The kinds of `policy`."""
