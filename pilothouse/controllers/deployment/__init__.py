"""Rolls a Deployment's pod template out over ReplicaSets. Source: upstream `pkg/controller/deployment`.

`revision` knows which ReplicaSet is the new one and numbers them, `scaling` decides sizes, `progress` the status and its conditions,
`plan` puts them together, `controller` acts.
"""
