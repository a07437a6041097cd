"""What the API fills in where a client said nothing.

`constants` has the values that depend on nothing else, `pods`, `core`, `workloads` and `cluster` the rules that look at other fields. The
outer object is defaulted before what it contains, constants before rules. Source: upstream `pkg/apis/*/v1/defaults.go` and the
conversions beside them.
"""

from pilothouse.api.schema.defaults.engine import defaulter

__all__ = ["defaulter"]
