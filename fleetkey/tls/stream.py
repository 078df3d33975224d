"""The server's side of TLS without I/O: when to decrypt, and how much at a time."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress

from fleetkey.tls.client_hello import check_key_shares
from fleetkey.tls.records import (
    HANDSHAKE,
    MAX_RECORD_BYTES,
    NotTlsError,
    TlsBoundError,
    hello_end,
    is_hello_retry,
    record_end,
    records_end,
)

__all__ = ["TlsStream"]

MAX_HANDSHAKE_BYTES = 32 * 1024
"""How much a client may send for its handshake; no client certificate is requested."""
RECORDS_PER_STEP = 8
"""Records processed per handshake step."""
RECORDS_AT_ONCE = 64
"""Records decrypted per `read`."""
BYTES_AT_ONCE = 64 * 1024
"""Bytes after which a `read` starts no further record."""
MAX_EMPTY_RECORDS = 32
"""Records without data that a client may send in `EMPTY_SECONDS`, such as KeyUpdates (RFC 8446, 4.6.3)."""
EMPTY_SECONDS = 60.0


class TlsStream:
    """A client's bytes go into `incoming`; bytes to send to it come out of `take_sent`.

    The SSL object is created with the first complete ClientHello. It gets whole records, and a bounded number at a
    time: the library processes any number of records without data, such as key changes, until it finds one with data.
    """

    __slots__ = (
        "_context",
        "_empty_records",
        "_empty_since",
        "_handshake_bytes",
        "_is_hello_next",
        "_received",
        "_sent",
        "_ssl",
        "incoming",
    )

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.incoming = bytearray()
        """Received bytes that are not passed to the SSL object yet."""
        # These three are created with the first ClientHello.
        self._received: ssl.MemoryBIO = None  # type: ignore[assignment]
        self._sent: ssl.MemoryBIO = None  # type: ignore[assignment]
        self._ssl: ssl.SSLObject = None  # type: ignore[assignment]
        self._is_hello_next = True
        self._handshake_bytes = 0
        self._empty_records = 0
        self._empty_since = 0.0

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """The SSL object; None before the first ClientHello is complete."""
        return self._ssl

    def can_shake_hands(self) -> bool:
        """Whether enough has arrived for a step of the handshake. Raises `NotTlsError`."""
        return self._next_end() > 0

    def shake_hands(self) -> bool:
        """Take a step of the handshake; return whether the handshake is done.

        Raises:
            NotTlsError: the input is not TLS, or more than a handshake may have.
            ssl.SSLError: the handshake failed; `take_sent` returns the alert.
        """
        if self._ssl is None:
            self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._ssl = self._context.wrap_bio(self._received, self._sent, server_side=True)
        for _ in range(RECORDS_PER_STEP):
            end = self._next_end()
            if not end:
                break
            if self._is_hello_next:
                check_key_shares(self.incoming, end)
            self._handshake_bytes += end
            if self._handshake_bytes > MAX_HANDSHAKE_BYTES:
                raise TlsBoundError("tls_handshake_bytes")
            self._received.write(self.incoming[:end])
            del self.incoming[:end]
            try:
                self._ssl.do_handshake()
            except ssl.SSLWantReadError:
                answer = self._sent.read()
                self._is_hello_next = is_hello_retry(answer)
                # Put it back for `take_sent`.
                self._sent.write(answer)
            else:
                return True
        return False

    def last_failure(self) -> NotTlsError | ssl.SSLError | None:
        """Return why the handshake fails by the last records of a client that leaves, such as an alert.

        None if they don't tell, or would cost a key exchange.
        """
        if not self.incoming or self.incoming[0] == HANDSHAKE:
            return None
        try:
            self.shake_hands()
        except (NotTlsError, ssl.SSLError) as error:
            return error
        return None

    def has_record(self) -> bool:
        """Whether a complete record has arrived, or bytes that aren't a record."""
        try:
            return record_end(self.incoming, 0, len(self.incoming)) > 0
        except NotTlsError:
            return True

    def read(self, parts: list[bytes]) -> bool:
        """Add the data of the next records to `parts`; return whether the client has ended TLS.

        Raises:
            NotTlsError: the input is not TLS, or has too many records without data.
            ssl.SSLError: it can't be decrypted; `take_sent` returns the alert.
        """
        incoming, received, tls = self.incoming, self._received, self._ssl
        end, records = records_end(incoming, RECORDS_AT_ONCE, BYTES_AT_ONCE)
        received.write(incoming[:end])
        del incoming[:end]
        is_over, longest, count = False, min(end, MAX_RECORD_BYTES), 0
        # Raised when the last records held no data.
        with suppress(ssl.SSLWantReadError):
            while received.pending and not is_over:
                data = tls.read(longest)
                if data:
                    parts.append(data)
                    count += 1
                else:
                    is_over = True
        if count < records and not is_over:
            self._count_empty(records - count)
        return is_over

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt data for the client. Raises `ssl.SSLError`."""
        rest = memoryview(data)
        while rest:
            # One record at a time.
            rest = rest[self._ssl.write(rest) :]

    def end(self) -> None:
        """Send the client a close_notify alert."""
        with suppress(ssl.SSLError):
            # Raises because the client's close_notify hasn't arrived.
            self._ssl.unwrap()

    def take_sent(self) -> bytes:
        """Return the bytes to send to the client."""
        return self._sent.read() if self._sent is not None and self._sent.pending else b""

    def _next_end(self) -> int:
        """Return where the next input for the SSL object ends; 0 if it is incomplete."""
        if self._is_hello_next:
            return hello_end(self.incoming)
        return record_end(self.incoming, 0, len(self.incoming))

    def _count_empty(self, count: int) -> None:
        """Count records without data. Raises `TlsBoundError` if there were too many."""
        now = time.monotonic()
        if now - self._empty_since > EMPTY_SECONDS:
            self._empty_since, self._empty_records = now, 0
        self._empty_records += count
        if self._empty_records > MAX_EMPTY_RECORDS:
            raise TlsBoundError("tls_empty_records")
