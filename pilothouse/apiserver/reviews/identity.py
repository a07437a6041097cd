"""Who somebody is: TokenReview and SelfSubjectReview of authentication.k8s.io. Source: `pkg/registry/authentication`."""

from __future__ import annotations

from pilothouse.api import status
from pilothouse.api.meta import Object, format_time
from pilothouse.api.user import User
from pilothouse.apiserver.authn.bearer import BearerTokens
from pilothouse.apiserver.call import Call


def self_subject_review(user: User, obj: Object, now: float) -> Object:
    """`kubectl auth whoami`."""
    return {**obj, "metadata": {"creationTimestamp": format_time(now)}, "status": {"userInfo": user.to_object()}}


class TokenReviews:
    def __init__(self, tokens: BearerTokens) -> None:
        self._tokens = tokens

    async def review(self, call: Call, obj: Object) -> Object:
        """Raises BadRequest without a token."""
        spec = obj.get("spec") or {}
        if not spec.get("token"):
            raise status.BadRequest("token is required for TokenReview in authentication")
        audiences = tuple(spec.get("audiences") or self._tokens.audiences)
        try:
            verified = await self._tokens.verify(spec["token"], audiences)
        except status.Unauthorized as error:
            return {**obj, "status": {"user": {}, "error": error.message}}
        answer: Object = {"authenticated": True, "user": verified.user.to_object()}
        if verified.audiences:
            answer["audiences"] = list(verified.audiences)
        return {**obj, "status": answer}
