"""The verbs of the API: each reads its options and body, has the registry do it, and answers."""
