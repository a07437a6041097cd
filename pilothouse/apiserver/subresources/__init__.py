"""Subresources that are part of an object, each with rules of its own."""
