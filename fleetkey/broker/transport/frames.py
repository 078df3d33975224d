"""The `websockets` library's sans-I/O protocol, given one frame at a time."""

from __future__ import annotations

from websockets import Subprotocol
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.server import ServerProtocol

__all__ = [
    "MAX_FIRST_BYTES",
    "MAX_FIRST_FRAGMENTS",
    "MAX_FRAGMENTS",
    "MAX_MESSAGE_BYTES",
    "FrameProtocol",
    "frame_size",
]

SUBPROTOCOL = Subprotocol("mqtt")
MAX_MESSAGE_BYTES = 1024 * 1024
"""The maximum size of a message, which may contain several packets or part of one (6.0.0-2), in any frames."""
MAX_FIRST_BYTES = 64 * 1024
"""The same before the client is authenticated."""
MAX_FRAGMENTS = 4096
"""How many frames a message may have; each may be empty."""
MAX_FIRST_FRAGMENTS = 64
"""The same before the client is authenticated; there, a message contains a CONNECT and little else."""
MAX_HEADER_BYTES = 14
"""A frame's header, with an 8-byte length and the mask (RFC 6455, 5.2)."""
MASK_BIT, MASK_BYTES = 0x80, 4
TWO_BYTE_LENGTH, EIGHT_BYTE_LENGTH = 126, 127


class FrameProtocol(ServerProtocol):
    """One client's protocol, and its bytes that are not parsed yet.

    The library parses everything it is given at once, and a frame can be as short as six bytes. So it is given the
    bytes up to the end of a frame at most.
    """

    def __init__(self) -> None:
        super().__init__(subprotocols=[SUBPROTOCOL], max_size=MAX_FIRST_BYTES)
        self.incoming = bytearray()
        """Received bytes that the library hasn't been given yet."""
        self._header = b""
        """The beginning of a frame, too short to show its length; the library has it too."""
        self._fragments = 0
        """Frames of the current message so far."""
        self._max_fragments = MAX_FIRST_FRAGMENTS
        self._missing = 0
        """How many bytes of the current frame the library hasn't been given yet."""

    @property
    def held_bytes(self) -> int:
        """Return how many bytes wait, including those in which the library awaits the end of a frame."""
        return len(self.incoming) + len(self.reader.buffer)

    def answer_request(self, end: int) -> bool:
        """Parse the upgrade request, which ends at `end`, and answer it; False if it isn't one."""
        self.receive_data(self._take(end))
        requests = [event for event in self.events_received() if isinstance(event, Request)]
        if requests:
            self.send_response(self.accept(requests[0]))
        return bool(requests)

    def read_frame(self, most: int) -> tuple[int, Frame | None]:
        """Parse up to `most` bytes, up to the end of a frame; return how many that was, and the frame if it ended."""
        piece = self._take(self._next_end(most))
        self.receive_data(piece)
        return len(piece), next((event for event in self.events_received() if isinstance(event, Frame)), None)

    def admit(self) -> None:
        """Apply the bounds for authenticated clients; safe to call again."""
        self.max_size, self._max_fragments = MAX_MESSAGE_BYTES, MAX_FRAGMENTS

    def has_too_many_fragments(self, frame: Frame) -> bool:
        """Count a data frame; return whether its message has too many of them."""
        self._fragments += 1
        is_too_many = self._fragments > self._max_fragments
        if frame.fin:
            self._fragments = 0
        return is_too_many

    def release(self) -> None:
        """Discard everything, and break the reference cycles, which would keep the memory until a garbage collection.

        Nothing may be received after this.
        """
        self.incoming.clear()
        self.reader.discard()
        self.parser.close()
        for kept in (self.handshake_exc, self.parser_exc):
            error: BaseException | None = kept
            while error is not None:
                # A traceback refers to the library's frames, and those to this.
                error.__traceback__ = None
                error = error.__cause__ or error.__context__
        self.handshake_exc = self.parser_exc = None

    def _take(self, end: int) -> bytes:
        data = bytes(self.incoming[:end])
        del self.incoming[:end]
        return data

    def _next_end(self, most: int) -> int:
        """Return how many bytes to give to the library next, and count them."""
        size = min(len(self.incoming), most)
        if not self._missing:
            header = self._header + self.incoming[: min(size, MAX_HEADER_BYTES)]
            frame_bytes = frame_size(header)
            if not frame_bytes:
                # All of it, as a header that shows no length is shorter than `MAX_HEADER_BYTES`.
                self._header = header
                return size
            self._missing = frame_bytes - len(self._header)
            self._header = b""
        end = min(size, self._missing)
        self._missing -= end
        return end


def frame_size(header: bytes) -> int:
    """Return the size of the frame that begins with these bytes; 0 if they are too few to tell."""
    if len(header) < 2:  # noqa: PLR2004 - the two bytes of the shortest header
        return 0
    length, end = header[1] & ~MASK_BIT, 2
    if length >= TWO_BYTE_LENGTH:
        end = 4 if length == TWO_BYTE_LENGTH else 10
        if len(header) < end:
            return 0
        length = int.from_bytes(header[2:end], "big")
    return end + (MASK_BYTES if header[1] & MASK_BIT else 0) + length
