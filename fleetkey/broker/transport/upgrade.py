"""The WebSocket upgrade request, as bytes: its maximum length, and where it ends (RFC 6455, 4.2)."""

from __future__ import annotations

from http import HTTPStatus

__all__ = ["RequestEnd", "UpgradeRefusedError"]

MAX_UPGRADE_BYTES = 16 * 1024
"""The maximum length of the upgrade request."""
METHOD = b"GET "
END_OF_REQUEST = b"\r\n\r\n"


class UpgradeRefusedError(Exception):
    """The client didn't send an upgrade request, or it is too long."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class RequestEnd:
    """Searches the bytes received so far for the end of the request, each byte once."""

    __slots__ = ("_searched",)

    def __init__(self) -> None:
        self._searched = 0

    def find(self, incoming: bytearray) -> int:
        """Return where the request ends; 0 if it is incomplete. Raises `UpgradeRefusedError`."""
        if not incoming.startswith(METHOD[: len(incoming)]):
            raise UpgradeRefusedError(HTTPStatus.BAD_REQUEST)
        found = incoming.find(END_OF_REQUEST, self._searched)
        end = found + len(END_OF_REQUEST) if found >= 0 else 0
        if (end or len(incoming)) > MAX_UPGRADE_BYTES:
            raise UpgradeRefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self._searched = max(0, len(incoming) - len(END_OF_REQUEST) + 1)
        return end
