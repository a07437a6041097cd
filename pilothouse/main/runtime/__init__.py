"""What a node's containers run in: its own containerd, its pod network, the pause image, and their removal without a trace."""
