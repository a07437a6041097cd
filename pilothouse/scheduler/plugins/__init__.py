"""The scheduler's plugins, one a file, under upstream's names; `table` has their order and weights."""
