"""`/api/v1/serials`: the allow-list."""

from __future__ import annotations

import asyncio
import tempfile
from typing import TYPE_CHECKING, Annotated

import msgspec
from litestar import delete, get, post
from litestar.params import QueryParameter
from litestar.response.base import ASGIResponse

from fleetkey.access import OverloadedError
from fleetkey.admin_api.context import ApiContext, Asked
from fleetkey.admin_api.description import Cursor, Limit, SerialPattern, answers
from fleetkey.admin_api.lists import answer_list
from fleetkey.admin_api.responses import Answer, as_json
from fleetkey.http.body import body_chunks
from fleetkey.http.openapi_bodies import described, described_text
from fleetkey.management import SerialFilter, SerialFormat
from fleetkey.management.schemas import AddedAnswer, SerialEntry, SerialPage, SerialsBody
from fleetkey.registry import ListedSerial, Role

if TYPE_CHECKING:
    from typing import BinaryIO

    from litestar.types import ControllerRouterHandler

    from fleetkey.admin_api.auth import Caller
    from fleetkey.management import Management

__all__ = ["MAX_IMPORTS", "serial_handlers"]

MAX_IMPORT_BYTES = 64 * 1024 * 1024
"""Maximum size of an import, which is held in a temporary file, not in memory."""
MAX_IMPORTS = 2
"""How many imports are received or processed at once, in their own threads; further ones get 503."""
IMPORT_SECONDS = 600.0
"""How long an import may take to arrive, before it gets 408."""
SPOOLED_BYTES = 1024 * 1024
Used = Annotated[
    bool | None,
    QueryParameter(description="Only serials that a device has registered with (`true`), or that none has (`false`)."),
]
FORMATS = {"text/plain": SerialFormat.TEXT, "text/csv": SerialFormat.CSV}


def serial_handlers(context: ApiContext) -> list[ControllerRouterHandler]:
    """Return the operations on the allow-list."""
    authorizer = context.authorizer
    imports = asyncio.Semaphore(MAX_IMPORTS)

    @get(
        "/serials",
        opt={"role": Role.VIEWER},
        responses=answers(200, SerialPage, "Serials on the allow-list, in order"),
    )
    async def list_serials(
        request: Asked,
        serial_pattern: SerialPattern = None,
        used: Used = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> ASGIResponse:
        """List the serials that may register and match all given filters, with what each device will get."""
        wanted = SerialFilter(serial_pattern=serial_pattern, used=used)
        return await answer_list(
            authorizer,
            request,
            lambda fleet, cursor, limit: fleet.serials.page(wanted, cursor=cursor, limit=limit),
            cursor=cursor,
            limit=limit,
        )

    @post(
        "/serials",
        status_code=200,
        opt={"role": Role.OPERATOR},
        operation_class=described(SerialsBody),
        responses=answers(200, AddedAnswer, "All were added", has_body=True),
    )
    async def add_serials(request: Asked) -> Answer:
        """Add serials: all of them or, if one is invalid, none."""
        body = await context.body(request, SerialsBody)
        entries = [_entry(entry) for entry in body.serials]
        added = await authorizer.run(request, lambda fleet, caller: fleet.serials.add(entries, actor=caller.actor))
        return as_json(added)

    @post(
        "/serials/import",
        status_code=200,
        opt={"role": Role.OPERATOR},
        operation_class=described_text(*FORMATS),
        responses=answers(200, AddedAnswer, "All were added", has_body=True),
    )
    async def import_serials(request: Asked) -> Answer:
        """Add the serials in a file, one per line or as CSV: all of them or none."""
        if imports.locked():
            msg = "too many imports are running"
            raise OverloadedError(msg)
        async with imports:
            with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as file:
                chunks = body_chunks(
                    request,
                    media_types=frozenset(FORMATS),
                    max_bytes=MAX_IMPORT_BYTES,
                    timeout_seconds=IMPORT_SECONDS,
                )
                async for chunk in chunks:
                    # Writing to disk may block.
                    await asyncio.to_thread(file.write, chunk)
                media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()

                def work(fleet: Management, caller: Caller) -> AddedAnswer:
                    file.seek(0)
                    stream: BinaryIO = file  # type: ignore[assignment] # it has the methods that are used
                    return fleet.serials.import_file(stream, FORMATS[media_type], actor=caller.actor)

                added = await authorizer.run(request, work, pool=context.import_pool)
        return as_json(added)

    @delete(
        "/serials",
        status_code=204,
        opt={"role": Role.OPERATOR},
        responses=answers(204, None, "Removed from the list", 404),
    )
    async def remove_serial(
        request: Asked, serial: Annotated[str, QueryParameter(description="The serial to remove.")]
    ) -> None:
        """Remove a serial from the list; a device that registered with it stays."""
        await authorizer.run(request, lambda fleet, caller: fleet.serials.remove(serial, actor=caller.actor))

    return [list_serials, add_serials, import_serials, remove_serial]


def _entry(entry: str | SerialEntry) -> str | ListedSerial:
    if isinstance(entry, str):
        return entry
    return ListedSerial(**msgspec.structs.asdict(entry))
