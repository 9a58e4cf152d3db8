"""This module is the part of Globus Auth that published agents ask for: who somebody is."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from compute_nb.service.gate import Caller


class OauthRoutes:
    """What `/v2/oauth2` answers; loop thread only."""

    async def userinfo(self, _: Request, caller: Caller) -> dict[str, Any]:
        """Answers whose token it is: start commands for that user are for his agents."""
        user = str(caller.user)
        identity = {"sub": user, "username": user}
        return {"sub": user, "preferred_username": user, "identity_set": [identity]}
