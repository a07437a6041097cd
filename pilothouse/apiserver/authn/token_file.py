"""Static tokens from `--token-auth-file`: lines of `token,user,uid,"group1,group2"`.

Source: apiserver `pkg/authentication/token/tokenfile`.
"""

from __future__ import annotations

import csv

from pilothouse.api.user import User
from pilothouse.apiserver.authn.bearer import Verified


class TokenFile:
    def __init__(self, text: str, audiences: tuple[str, ...]) -> None:
        """`audiences` are those of the API server, for which alone the tokens are.

        Raises ValueError for a line with fewer than three columns or an empty token.
        """
        self._audiences = audiences
        self._users: dict[bytes, User] = {}
        for number, row in enumerate(csv.reader(text.splitlines(), skipinitialspace=True), 1):
            if not row or row[0].startswith("#"):
                continue
            if len(row) < 3:
                raise ValueError(
                    f"token file line {number} has {len(row)} columns; it needs at least 3 (token, user name, user uid)"
                )
            if not row[0].strip():
                raise ValueError(f"token file line {number} has an empty token")
            groups = tuple(group.strip() for group in row[3].split(",") if group.strip()) if len(row) > 3 else ()
            self._users[row[0].strip().encode()] = User(row[1].strip(), row[2].strip(), groups)

    async def verify(self, token: str, audiences: tuple[str, ...]) -> Verified | None:
        user = self._users.get(token.encode(errors="surrogatepass"))
        meant = tuple(audience for audience in audiences if audience in self._audiences)
        return Verified(user, meant) if user is not None and meant else None
