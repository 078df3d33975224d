"""Reading refusal records: who was refused, why, and what to do about it."""

from __future__ import annotations

import ipaddress
import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from fleetkey.management.errors import InvalidRequestError
from fleetkey.management.pages import (
    Batch,
    EncodedPage,
    PositionList,
    check_limit,
    fill_page,
    parse_position,
    position_cursor,
)
from fleetkey.management.schemas import RefusalAnswer
from fleetkey.registry import RefusalFilter, is_whole_claim

if TYPE_CHECKING:
    from fleetkey.registry import RefusalCount, RefusalRecord
    from fleetkey.registry.store import RefusalReader

__all__ = ["RefusalService", "command_for"]

ALL = RefusalFilter()
PLACEHOLDER = re.compile(r"\{(\w+)\}")


class RefusalService:
    """Reads refusal records. Every method blocks, and may raise `InvalidRequestError` and `StoreError`."""

    def __init__(self, store: RefusalReader) -> None:
        self._store = store

    def newest(
        self, wanted: RefusalFilter = ALL, *, cursor: str | None = None, limit: int = 100
    ) -> EncodedPage[RefusalAnswer]:
        """Return a page of records, newest first, continuing from the cursor of an earlier page.

        A record that gets another refusal in the meantime moves to the beginning.
        """
        wanted = _checked(wanted)
        # The first page has no position to begin before.
        start = None if cursor is None else parse_position(PositionList.REFUSALS, cursor)

        def read(reached: int | None, count: int) -> Batch[RefusalRecord, int | None]:
            page = self._store.find_refusals(wanted, before=reached, limit=count)
            return Batch(items=page.records, reached=page.reached)

        return fill_page(
            read,
            start=start,
            limit=check_limit(limit),
            show=lambda record: RefusalAnswer.of(record, command=command_for(record)),
            position=lambda record: record.position,
            cursor=lambda position: position_cursor(PositionList.REFUSALS, position or 0),
        )


def command_for(refused: RefusalCount) -> str | None:
    """Return the command to paste for a refusal; None if there is none, or the record doesn't have what it needs.

    A claim that is cut or escaped in the record isn't put into a command, which might then be about another device.
    """
    template = refused.reason.command
    values = {"device_id": refused.device_id, "serial": refused.serial, "key": refused.key, "topic": refused.topic}
    if not template:
        return None
    needed = [values[name] for name in PLACEHOLDER.findall(template)]
    if not all(value and is_whole_claim(value) for value in needed):
        return None

    def filled(found: re.Match[str]) -> str:
        value = values[found[1]] or ""
        # A serial may begin with a dash, which would make it an option.
        is_option_like = value.startswith("-") and template[found.start() - 1] != "="
        return f"{'-- ' if is_option_like else ''}{shlex.quote(value)}"

    # In one pass, since a claim may look like a placeholder.
    return PLACEHOLDER.sub(filled, template)


def _checked(wanted: RefusalFilter) -> RefusalFilter:
    """Check a filter, and return it with its address in the form that records use."""
    if wanted.address is None:
        return wanted
    try:
        return replace(wanted, address=str(ipaddress.ip_address(wanted.address)))
    except ValueError:
        raise InvalidRequestError("address", f"{wanted.address[:64]!r} is not an IP address") from None
