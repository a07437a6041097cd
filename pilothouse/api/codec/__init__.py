"""Encodings of objects other than JSON."""
