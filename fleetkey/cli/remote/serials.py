"""The allow-list of a remote server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from fleetkey.cli.errors import InterruptedCommandError
from fleetkey.management import MAX_PAGE, SerialFormat
from fleetkey.management.schemas import AddedAnswer, SerialPage, SerialsBody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fleetkey.cli.remote.client import RemoteClient
    from fleetkey.management import SerialFilter
    from fleetkey.management.schemas import SerialAnswer

__all__ = ["RemoteSerials"]

CHUNK_BYTES = 64 * 1024
MEDIA_TYPES = {SerialFormat.TEXT: "text/plain", SerialFormat.CSV: "text/csv"}


class RemoteSerials:
    """What `SerialService` does for commands. Every method raises `CommandError`."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client

    def add(self, serials: Iterable[str], *, actor: str) -> AddedAnswer:
        """Add serials: all of them or none."""
        return self._client.ask("POST", "serials", AddedAnswer, body=SerialsBody(serials=list(serials)))

    def import_file(
        self,
        stream: BinaryIO,
        serial_format: SerialFormat,
        *,
        actor: str,
        on_progress: Callable[[int], None] | None = None,
    ) -> AddedAnswer:
        """Add the serials in a file, all of them or none; `on_progress` takes how many lines have been sent.

        Raises:
            InterruptedCommandError: Ctrl-C; says whether the server may still import them.
        """
        is_sent = False

        def chunks() -> Iterator[bytes]:
            nonlocal is_sent
            lines = 0
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
                lines += chunk.count(b"\n")
                if on_progress is not None:
                    on_progress(lines)
            is_sent = True

        try:
            return self._client.ask(
                "POST", "serials/import", AddedAnswer, content=chunks(), media_type=MEDIA_TYPES[serial_format]
            )
        except KeyboardInterrupt:
            # The server imports only what it has received to its end.
            may = "all serials were sent, and the server may still import them: see `fleetkey serials list`"
            msg = f"interrupted; {may if is_sent else 'nothing was imported'}"
            raise InterruptedCommandError(msg) from None

    def iterate(self, wanted: SerialFilter) -> Iterator[SerialAnswer]:
        """Yield all serials on the list that match, in order, a page at a time."""
        query: dict[str, Any] = {
            "serial_pattern": wanted.serial_pattern,
            "used": None if wanted.used is None else str(wanted.used).lower(),
            "limit": MAX_PAGE,
        }
        while True:
            page = self._client.ask("GET", "serials", SerialPage, query=query)
            yield from page.items
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def remove(self, serial: str, *, actor: str) -> None:
        """Remove a serial from the list."""
        self._client.ask("DELETE", "serials", type(None), query={"serial": serial})
