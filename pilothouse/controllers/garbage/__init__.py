"""Deletes what has lost its owners. Source: upstream `pkg/controller/garbagecollector`.

`graph` keeps who owns whom, `plan` decides about one object, `controller` follows all resources and acts.
"""
