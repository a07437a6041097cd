"""Reviews go through admission, whose changes are what is answered."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.kinds.table import RESOURCES
from pilothouse.api.status import Forbidden, Invalid
from pilothouse.api.user import User
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.authz.always import AlwaysAllow
from pilothouse.apiserver.authz.chain import Chain, Link
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.reviews.access import AccessReviews
from pilothouse.apiserver.reviews.admission import ReviewAdmission
from pilothouse.apiserver.route import request_info
from pilothouse.kit.http.message import LOCAL_PEER, Request

PATH = "/apis/authorization.k8s.io/v1/namespaces/ns/localsubjectaccessreviews"


class Admitting:
    """Puts a user where there is none, and refuses mallory."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Attributes]] = []

    async def mutate(self, attributes: Attributes) -> None:
        self.seen.append(("mutate", attributes))
        assert attributes.obj is not None
        attributes.obj["spec"].setdefault("user", "somebody")

    async def validate(self, attributes: Attributes) -> None:
        self.seen.append(("validate", attributes))
        assert attributes.obj is not None
        if attributes.obj["spec"]["user"] == "mallory":
            raise Forbidden("not him")


async def answer(admitting: Admitting, **spec: Any) -> Any:
    admission = ReviewAdmission(admitting, RESOURCES)
    reviews = AccessReviews(Chain([Link(AlwaysAllow())]), admission.validate)
    call = Call(Request("POST", PATH, "", {}, b"", LOCAL_PEER), request_info("POST", PATH, {}), {}, User("me"))
    obj = {"metadata": {"namespace": "ns"}, "spec": {"resourceAttributes": {"namespace": "ns"}, **spec}}
    return await admission.mutated(reviews.local_subject_access)(call, obj)


async def test_changes_are_answered() -> None:
    admitting = Admitting()
    answered = await answer(admitting)
    assert (answered["spec"]["user"], answered["status"]["allowed"]) == ("somebody", True)
    assert [step for step, _ in admitting.seen] == ["mutate", "validate"]
    attributes = admitting.seen[0][1]
    assert (attributes.operation, attributes.gvr.kind, attributes.namespace, attributes.user.name) == (
        "CREATE",
        "LocalSubjectAccessReview",
        "ns",
        "me",
    )


async def test_refusals() -> None:
    with pytest.raises(Forbidden, match="not him"):
        await answer(Admitting(), user="mallory")


async def test_what_is_not_valid_is_not_judged() -> None:
    admitting = Admitting()
    with pytest.raises(Invalid):
        await answer(admitting, user="mallory", resourceAttributes=None)
    assert [step for step, _ in admitting.seen] == ["mutate"]
