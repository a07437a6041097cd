"""Custom resources: a CustomResourceDefinition becomes a kind that is served like any other.

`custom_resources` follows the definitions; `naming` decides what they may be called, `kinds` makes the kinds they define, `endpoint`
serves these, `removal` deletes the objects of a definition that goes. Only `custom_resources` is loaded where there is no definition.
Source: apiextensions-apiserver `pkg/apiserver/customresource_handler.go`, `pkg/controller`.
"""
