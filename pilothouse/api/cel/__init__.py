"""The Common Expression Language, as Kubernetes speaks it.

One module stands before the library (`cel_expr_python`, Google's implementation), which is imported when the first environment is made:

    environment = Environment({"self": DYN, "oldSelf": DYN})     # pilothouse.api.cel.environment; some 30 ms, keep it
    program = environment.compile("self.replicas <= self.max", returns=BOOL)    # raises CompileError
    program.evaluate({"self": {...}, "oldSelf": {...}})                          # True; raises EvaluationError

Values go in as JSON objects (dict, list, str, int, float, bool, None), with `timestamp(datetime)` and `duration(timedelta)` for what a
schema calls date-time and duration; they come out as the same types, moments as `datetime`, lengths of time as `timedelta`. An int is
CEL's int and a float its double: where a schema says `number`, pass floats. A property whose name is no identifier is reached in typed
objects under `escape(name)`. A variable whose type is not known is DYN; others are checked when the expression is compiled. Programs are
immutable and may be shared; evaluating takes some microseconds and never suspends.

Kubernetes' functions (`library`, `formats`, `network`, `access`) are there: lists, regex, quantity, url, ip, cidr, semver, format,
authorizer, and the extensions strings, sets, lists, two-variable comprehensions and optionals. Not there: `optional.unwrap`.

Limits: an expression of at most MAX_EXPRESSION_BYTES, nested at most 32 deep (250 upstream), of at most 10,000 rounds of comprehensions in
one evaluation; beyond that it fails as upstream's cost limit does. `cost` estimates what an expression may cost before it is accepted,
from its tree (`ast`) and the sizes that a schema allows (`declared`); the cost of an evaluation is not counted.

Source: KEP-2876, apiserver `pkg/cel`.
"""
