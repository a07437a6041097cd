"""Admission: one module a plugin, run in the order of `chain`."""
