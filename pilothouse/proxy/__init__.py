"""The service proxy: makes the addresses of Services lead to their endpoints on one node."""
