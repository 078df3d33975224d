"""`/api/v1/keys`: the credentials of devices and applications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from litestar import get, post
from litestar.params import FromPath, QueryParameter
from litestar.response.base import ASGIResponse

from fleetkey.admin_api.auth import Caller
from fleetkey.admin_api.context import ApiContext, Asked
from fleetkey.admin_api.description import KeyCursor, Limit, answers
from fleetkey.admin_api.lists import answer_list
from fleetkey.admin_api.responses import Answer, as_json
from fleetkey.http.openapi_bodies import described
from fleetkey.management import (
    ApplicationKeyRequest,
    InvalidRequestError,
    KeyFilter,
    LosantKey,
    LosantKeyAnswer,
    losant_answer,
    parse_expiry,
    parse_losant_key,
)
from fleetkey.management.schemas import CreatedKeyAnswer, KeyAnswer, KeyBody, KeyPage, ScopeBody
from fleetkey.registry import ApplicationScope, KeyKind, Role

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from fleetkey.management import CreatedKey, Management

__all__ = ["key_handlers"]

DeviceId = Annotated[str | None, QueryParameter(description="Only this device's keys.")]
Kind = Annotated[KeyKind | None, QueryParameter(description="Only keys of this kind.")]
IncludeRetired = Annotated[bool, QueryParameter(description="Include retired keys.")]
Expires = Annotated[
    str | None, QueryParameter(description="When the key expires: a duration such as 30d, or a date (UTC).")
]
Source = Annotated[
    list[str] | None, QueryParameter(description="Allow connections only from this address or network. Repeatable.")
]
VIEWER = {"role": Role.VIEWER}
OPERATOR = {"role": Role.OPERATOR}


def key_handlers(context: ApiContext) -> list[ControllerRouterHandler]:
    """Return the operations on keys."""
    authorizer = context.authorizer

    @get("/keys", opt=VIEWER, responses=answers(200, KeyPage, "Keys, oldest first"))
    async def list_keys(
        request: Asked,
        device_id: DeviceId = None,
        kind: Kind = None,
        include_retired: IncludeRetired = False,  # noqa: FBT002 - Litestar passes it by name
        cursor: KeyCursor = None,
        limit: Limit = 100,
    ) -> ASGIResponse:
        """List keys; secrets are not stored and can't be shown."""
        wanted = KeyFilter(device_id=device_id, kind=kind, include_retired=include_retired)
        return await answer_list(
            authorizer,
            request,
            lambda fleet, cursor, limit: fleet.keys.page(wanted, cursor=cursor, limit=limit),
            cursor=cursor,
            limit=limit,
        )

    @get("/keys/{key:str}", opt=VIEWER, responses=answers(200, KeyAnswer, "The key", 404))
    async def show_key(request: Asked, key: FromPath[str]) -> Answer:
        """Show one key."""
        return as_json(await authorizer.run(request, lambda fleet, _: fleet.keys.get(key)))

    @post(
        "/keys",
        status_code=201,
        opt=OPERATOR,
        operation_class=described(KeyBody),
        responses=answers(201, CreatedKeyAnswer, "The key, with its secret", 404, has_body=True),
    )
    async def create_key(request: Asked) -> Answer:
        """Create an application key. One for all devices, or with its own topics, requires the role admin."""
        body = await context.body(request, KeyBody)
        expires_at = parse_expiry(body.expires, now=context.now()) if body.expires else None
        wanted = ApplicationKeyRequest(
            name=body.name,
            scope=_scope(body.scope),
            description=body.description,
            sources=tuple(body.sources),
            expires_at=expires_at,
        )
        created = await _create(context, request, wanted)
        return as_json(CreatedKeyAnswer.with_secret(created.key, created.secret), status=201)

    @post(
        "/keys/losant",
        status_code=201,
        opt=OPERATOR,
        operation_class=described(LosantKey),
        responses=answers(201, LosantKeyAnswer, "The key in Losant's format, with its secret", 404, has_body=True),
    )
    async def create_losant_key(request: Asked, expires: Expires = None, source: Source = None) -> Answer:
        """Create an application key from a Losant JSON document."""
        expires_at = parse_expiry(expires, now=context.now()) if expires else None
        document, wanted = await context.parsed(
            await context.raw_body(request),
            lambda content: parse_losant_key(content, sources=tuple(source or ()), expires_at=expires_at),
        )
        try:
            created = await _create(context, request, wanted)
        except InvalidRequestError as error:
            # The query parameter has another name.
            raise InvalidRequestError("source" if error.field == "sources" else error.field, str(error)) from None
        return as_json(losant_answer(document, created), status=201)

    @post(
        "/keys/{key:str}/revoke",
        status_code=200,
        opt=OPERATOR,
        responses=answers(200, KeyAnswer, "The revoked key", 404),
    )
    async def revoke_key(request: Asked, key: FromPath[str]) -> Answer:
        """Revoke a key for good and disconnect the clients that use it, within a second."""
        revoked = await authorizer.run(request, lambda fleet, caller: fleet.keys.revoke(key, actor=caller.actor))
        return as_json(revoked)

    return [list_keys, show_key, create_key, create_losant_key, revoke_key]


async def _create(context: ApiContext, request: Asked, wanted: ApplicationKeyRequest) -> CreatedKey:
    def work(fleet: Management, caller: Caller) -> CreatedKey | Caller:
        scope = wanted.scope
        if (scope.all_devices or scope.publish or scope.subscribe) and not caller.may(Role.ADMIN):
            return caller
        return fleet.keys.create_application(wanted, actor=caller.actor)

    made = await context.authorizer.run(request, work)
    if isinstance(made, Caller):
        why = (
            "A key for all devices, or with its own topics, requires the role admin; "
            "operators may create keys for devices or tags."
        )
        await context.authorizer.refuse_role(made, Role.ADMIN, why)
    return made


def _scope(body: ScopeBody) -> ApplicationScope:
    return ApplicationScope(
        all_devices=body.all_devices,
        device_ids=tuple(dict.fromkeys(body.device_ids)),
        tags=tuple(body.tags.items()),
        publish=tuple(body.publish),
        subscribe=tuple(body.subscribe),
    )
