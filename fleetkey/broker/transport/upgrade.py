"""The request for a WebSocket, as bytes: how long it may be, and where it ends (RFC 6455, 4.2)."""

from __future__ import annotations

from http import HTTPStatus

__all__ = ["RequestEnd", "UpgradeRefusedError"]

MAX_UPGRADE_BYTES = 16 * 1024
"""How long the request for the upgrade may be."""
METHOD = b"GET "
END_OF_REQUEST = b"\r\n\r\n"


class UpgradeRefusedError(Exception):
    """What arrived is not a request for an upgrade, or too long."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class RequestEnd:
    """Looks for the end of the request in what has arrived so far, each byte once."""

    __slots__ = ("_searched",)

    def __init__(self) -> None:
        self._searched = 0

    def find(self, incoming: bytearray) -> int:
        """Return where the request ends; 0 if more has to come. Raises `UpgradeRefusedError`."""
        if not incoming.startswith(METHOD[: len(incoming)]):
            raise UpgradeRefusedError(HTTPStatus.BAD_REQUEST)
        found = incoming.find(END_OF_REQUEST, self._searched)
        end = found + len(END_OF_REQUEST) if found >= 0 else 0
        if (end or len(incoming)) > MAX_UPGRADE_BYTES:
            raise UpgradeRefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self._searched = max(0, len(incoming) - len(END_OF_REQUEST) + 1)
        return end
