"""Who somebody is: TokenReview and SelfSubjectReview of authentication.k8s.io. Source: `pkg/registry/authentication`."""

from __future__ import annotations

from pilothouse.api import status
from pilothouse.api.meta import Object, format_time
from pilothouse.apiserver.authn.bearer import BearerTokens
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.reviews.admission import Admit, admit_all
from pilothouse.kit.clock import Clock


class SelfSubjectReviews:
    """`kubectl auth whoami`."""

    def __init__(self, clock: Clock, admit: Admit = admit_all) -> None:
        self._clock = clock
        self._admit = admit

    async def review(self, call: Call, obj: Object) -> Object:
        await self._admit(call, obj)
        created = {"creationTimestamp": format_time(self._clock.now())}
        return {**obj, "metadata": created, "status": {"userInfo": call.user.to_object()}}


class TokenReviews:
    def __init__(self, tokens: BearerTokens, admit: Admit = admit_all) -> None:
        """`admit` raises for a review that is not admitted."""
        self._tokens = tokens
        self._admit = admit

    async def review(self, call: Call, obj: Object) -> Object:
        """Raises BadRequest without a token."""
        spec = obj.get("spec") or {}
        if not spec.get("token"):
            raise status.BadRequest("token is required for TokenReview in authentication")
        await self._admit(call, obj)
        audiences = tuple(spec.get("audiences") or self._tokens.audiences)
        try:
            verified = await self._tokens.verify(spec["token"], audiences)
        except status.Unauthorized as error:
            return {**obj, "status": {"user": {}, "error": error.message}}
        answer: Object = {"authenticated": True, "user": verified.user.to_object()}
        if verified.audiences:
            answer["audiences"] = list(verified.audiences)
        return {**obj, "status": answer}
