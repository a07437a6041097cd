"""Structural schemas: what a CustomResourceDefinition says of its objects, and what follows from it.

`schema` parses them, `form` judges them; `prune`, `default`, `check`, `list_types` and `embedded` apply them to objects; `facts` and
`openapi` hand them to apply and to clients. Everything here is pure.
Source: `reference/using-api/…/custom-resource-definitions`, KEP-1965, apiextensions-apiserver `pkg/apiserver/schema`.
"""
