"""Who may call what: a token names a role, and a route names the roles that may call it.

Which role may call which route is in the table of `web.app`.
"""

import hmac
from collections.abc import Mapping
from typing import Any

import attrs
import falcon

from ralo_core.access import ADMIN, SAMPLER, TRAINER, VIEWER

Roles = frozenset[str]

NOBODY: Roles = frozenset()
SAMPLERS: Roles = frozenset({SAMPLER})
TRAINERS: Roles = frozenset({TRAINER})
WORKERS: Roles = SAMPLERS | TRAINERS
VIEWERS: Roles = frozenset({VIEWER})
ANYBODY: Roles = WORKERS | VIEWERS | {"stranger"}
"""Also those who show no token."""

_SCHEME = "bearer "
_REALM = 'Bearer realm="ralo"'


@attrs.frozen
class TokenCheck:
    """Falcon middleware: `tokens` is role -> token, `allowed` path -> roles besides the admin.

    The check runs before any of the body is read.
    """

    tokens: Mapping[str, str]
    allowed: Mapping[str, Roles]

    def process_resource(
        self,
        request: falcon.Request,
        response: falcon.Response,
        resource: object,
        params: Mapping[str, Any],
    ) -> None:
        """Raise 401 without a valid token and 403 for one of another role."""
        allowed = self.allowed[request.uri_template or ""]
        if allowed == ANYBODY:
            return
        role = self._role(request)
        if role != ADMIN and role not in allowed:
            may = ", ".join(sorted(allowed | {ADMIN}))
            raise falcon.HTTPForbidden(
                title="forbidden",
                description=f"this is the token of a {role}; {request.path} is for: {may}",
            )
        request.context.role = role

    def _role(self, request: falcon.Request) -> str:
        header = request.get_header("Authorization") or ""
        if not header.lower().startswith(_SCHEME):
            raise falcon.HTTPUnauthorized(
                title="token missing",
                description="send Authorization: Bearer TOKEN (--token or RALO_TOKEN)",
                challenges=[_REALM],
            )
        shown = header[len(_SCHEME) :].strip().encode()
        # Every token is compared, and each in constant time: how long it takes tells nothing.
        roles = [
            role
            for role, token in self.tokens.items()
            if hmac.compare_digest(token.encode(), shown)
        ]
        if not roles:
            raise falcon.HTTPUnauthorized(
                title="token unknown",
                description="the run has other tokens: see tokens.json in its run directory",
                challenges=[f'{_REALM}, error="invalid_token"'],
            )
        return roles[0]
