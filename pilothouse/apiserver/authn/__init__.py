"""Authentication: one module a method, tried in the order of `chain`."""
