"""The three patch formats: JSON patch, JSON merge patch, strategic merge patch. Each module has one function, `apply`."""
