"""Who owns which field: `metadata.managedFields` and server-side apply.

`elements` names fields, `sets` calculates with sets of them, `node` and after it `lists`, `maps` and `structs` know how each type of value
is owned, compared and merged, `owners` keeps the entries of an object, `tracking` does it all for one write. Everything is pure.
Source: KEP-555, https://kubernetes.io/docs/reference/using-api/server-side-apply/.
"""
