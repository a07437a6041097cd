"""What makes an object of a built-in kind valid, beyond the shape that its schema gives it.

A check takes a part of an object, the path at which it stands, and the list to which it appends what is wrong; the functions that a
kind's declaration names (`validate_pod` …) take whole objects and return the list. Objects come after loading and defaulting, so that
types are right and empty values absent. Metadata that all kinds share is checked by `metadata`, which the generic registry calls.

Paths, messages and the order of checks are upstream's. Source: `pkg/apis/*/validation`, apimachinery `pkg/api/validation`.
"""
