"""Authorization: one module a mode, asked in the order of `chain`."""
