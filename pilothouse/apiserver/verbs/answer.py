"""POST of an object that is answered and not kept."""

from __future__ import annotations

from pilothouse.apiserver import metadata
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.endpoint import Endpoint
from pilothouse.apiserver.errors import not_acceptable
from pilothouse.apiserver.negotiate import ACCEPTED, Shape
from pilothouse.apiserver.options import write_options
from pilothouse.apiserver.present import value_response
from pilothouse.apiserver.seams import Answerer
from pilothouse.apiserver.tracking import tracking
from pilothouse.apiserver.verbs.body import read_object
from pilothouse.kit.http.message import Response


async def answer(call: Call, endpoint: Endpoint, answerer: Answerer, now: float) -> Response:
    """Have an object answered that is not kept. It has no metadata or columns to be shown by. Raises NotAcceptable."""
    if call.output.shape is not Shape.WHOLE:
        raise not_acceptable(ACCEPTED)
    options = write_options(call.query, "CreateOptions")
    obj = read_object(call, endpoint, options)
    metadata.set_namespace(obj["metadata"], call.info.namespace if endpoint.gvr.namespaced else "")
    tracking(call, endpoint, options)(None, obj, now)
    return value_response(call, 201, await answerer(call, obj))
