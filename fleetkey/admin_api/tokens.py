"""`/api/v1/tokens`: the bearer tokens of this API, for admins only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from litestar import get, post
from litestar.params import FromPath, QueryParameter
from litestar.response.base import ASGIResponse

from fleetkey.admin_api.context import ApiContext, Asked
from fleetkey.admin_api.description import Limit, TokenCursor, answers
from fleetkey.admin_api.lists import answer_list
from fleetkey.admin_api.responses import Answer, as_json
from fleetkey.http.openapi_bodies import described
from fleetkey.management import parse_expiry
from fleetkey.management.schemas import CreatedTokenAnswer, TokenAnswer, TokenBody, TokenPage
from fleetkey.registry import Role

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

__all__ = ["token_handlers"]

IncludeEnded = Annotated[bool, QueryParameter(description="Include revoked and expired tokens.")]
ADMIN = {"role": Role.ADMIN}


def token_handlers(context: ApiContext) -> list[ControllerRouterHandler]:
    """Return the operations on tokens."""
    authorizer = context.authorizer

    @get("/tokens", opt=ADMIN, responses=answers(200, TokenPage, "Tokens, oldest first"))
    async def list_tokens(
        request: Asked,
        include_ended: IncludeEnded = False,  # noqa: FBT002 - Litestar passes it by name
        cursor: TokenCursor = None,
        limit: Limit = 100,
    ) -> ASGIResponse:
        """List tokens; their text is not stored and can't be shown."""
        return await answer_list(
            authorizer,
            request,
            lambda fleet, cursor, limit: fleet.tokens.page(include_ended=include_ended, cursor=cursor, limit=limit),
            cursor=cursor,
            limit=limit,
        )

    @post(
        "/tokens",
        status_code=201,
        opt=ADMIN,
        operation_class=described(TokenBody),
        responses=answers(201, CreatedTokenAnswer, "The token, with its text", has_body=True),
    )
    async def create_token(request: Asked) -> Answer:
        """Create a token; its text is shown here and never again."""
        body = await context.body(request, TokenBody)
        expires_at = parse_expiry(body.expires, now=context.now()) if body.expires else None
        created = await authorizer.run(
            request,
            lambda fleet, caller: fleet.tokens.create(
                body.name, Role(body.role), expires_at=expires_at, actor=caller.actor
            ),
        )
        return as_json(CreatedTokenAnswer.with_text(created.token, created.text), status=201)

    @post(
        "/tokens/{token_id:str}/revoke",
        status_code=200,
        opt=ADMIN,
        responses=answers(200, TokenAnswer, "The revoked token", 404),
    )
    async def revoke_token(request: Asked, token_id: FromPath[str]) -> Answer:
        """Revoke a token for good; the next request with it is refused."""
        revoked = await authorizer.run(request, lambda fleet, caller: fleet.tokens.revoke(token_id, actor=caller.actor))
        return as_json(revoked)

    return [list_tokens, create_token, revoke_token]
