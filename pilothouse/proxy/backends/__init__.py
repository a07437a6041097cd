"""Ways to make the kernel forward Services' traffic."""
