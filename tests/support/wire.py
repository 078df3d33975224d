"""An MQTT client that does exactly what a test says, over any stream; it answers nothing by itself."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.support.packets import (
    DISCONNECT,
    PINGREQ,
    REFUSED,
    Kind,
    Packet,
    Publication,
    acknowledgement,
    connect,
    granted_of,
    number_of,
    properties_of,
    publication_of,
    publish,
    reason_of,
    subscribe,
    unsubscribe,
)
from tests.support.streams import TcpStream, WebSocketStream
from tests.support.versions import LEVEL_5, current_level
from tests.support.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from tests.support.fleet import Credentials, Fleet
    from tests.support.streams import Stream

__all__ = ["BOTH_TRANSPORTS", "Wire"]

BOTH_TRANSPORTS = pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])
GROUP_COMMIT_SECONDS = 0.05
LAST_NUMBER = 65_535
OLDER_CODES = {0x84: 1, 0x85: 2, 0x89: 3, 0x9F: 3, 0x87: 5}
"""The return codes of MQTT 3.1.1 for reason codes of MQTT 5."""


class ClosedByBrokerError(AssertionError):
    """The broker closed the connection instead of sending a packet."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(f"closed before {kind.name}")


class Wire:
    """One connection. Packets that nobody asked for yet wait in `inbox`; nothing is answered by itself."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.inbox: deque[Packet] = deque()
        self.is_session_present = False
        self.level = current_level()
        """The version it speaks, once it has logged in."""
        self.terms: dict[int, Any] = {}
        """The properties of the CONNACK, in MQTT 5."""
        self.reason = 0
        """Its reason code."""
        self._buffer = bytearray()
        self._number = 0
        self._is_persistent = False

    @classmethod
    def to(cls, fleet: Fleet, *, websocket: bool = False, source: str = "", receive_buffer: int = 0) -> Self:
        """Open a connection to a fleet's server; the last two arguments are the stream's."""
        port = fleet.server.ws_port if websocket else fleet.server.mqtt_port
        tcp = TcpStream(port, source=source, receive_buffer=receive_buffer)
        return cls(WebSocketStream(tcp) if websocket else tcp)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, *packets: bytes) -> None:
        """Send packets at once; what the broker doesn't take any more is dropped, and the next read finds the end."""
        with contextlib.suppress(ConnectionError):
            self.stream.send(b"".join(packets))

    def ask(self, data: bytes, kind: Kind) -> Packet:
        """Send a packet and return the answer of a kind."""
        self.send(data)
        return self.receive(kind)

    def close(self) -> None:
        """Close without a DISCONNECT."""
        self.stream.close()

    def disconnect(self) -> None:
        """Disconnect, and return when the broker has closed the connection: it knows."""
        self.send(DISCONNECT)
        assert self.is_closed_by_broker()
        self.close()

    def drop(self) -> None:
        """End as if the network had failed, and return when the broker has closed its side: it knows."""
        self.stream.end()
        assert self.is_closed_by_broker()
        self.close()

    def log_in(self, data: bytes) -> int | None:
        """Send a CONNECT, and return the CONNACK's code; None when the connection is closed without one.

        One of MQTT 5 is returned as that of MQTT 3.1.1 which means the same, if there is one.
        """
        at = 8 if len(data) > 1 and data[1] < 0x80 else 9
        if len(data) > at and data[0] == Kind.CONNECT << 4:
            self.level = data[at]
        self.send(data)
        got = self.read()
        if got is None:
            return None
        assert (got.kind, got.flags) == (Kind.CONNACK, 0)
        if self.level == LEVEL_5:
            self.terms = dict(properties_of(got))
            self.reason = got.body[1]
        else:
            assert len(got.body) == 2
        assert got.body[0] in {0, 1}
        self.is_session_present = bool(got.body[0])
        assert not (self.is_session_present and got.body[1]), "session-present in a refusal"
        return OLDER_CODES.get(got.body[1], got.body[1]) if self.level == LEVEL_5 else got.body[1]

    def enter(self, who: Credentials, **options: Any) -> Self:
        """Log in with good credentials; `options` are those of `connect`."""
        self._is_persistent = not options.get("clean", True)
        code = self.log_in(connect(who.client_id, who.key, who.secret, **options))
        assert code == 0, f"CONNACK {code}"
        return self

    def read(self, seconds: float = WAIT_SECONDS) -> Packet | None:
        """Return the next packet, whatever it is; None when the broker closed the connection. Raises TimeoutError."""
        if self.inbox:
            return self.inbox.popleft()
        return self._next(time.monotonic() + seconds)

    def receive(self, kind: Kind, seconds: float = WAIT_SECONDS) -> Packet:
        """Return the next packet of a kind; others wait in the inbox, in order."""
        for position, got in enumerate(self.inbox):
            if got.kind == kind:
                del self.inbox[position]
                return got
        deadline = time.monotonic() + seconds
        while True:
            following = self._next(deadline)
            if following is None:
                raise ClosedByBrokerError(kind)
            if following.kind == kind:
                return following
            self.inbox.append(following)

    def find(self, kind: Kind, seconds: float = WAIT_SECONDS) -> Packet | None:
        """Return the next packet of a kind, or None when the connection ends without one."""
        try:
            return self.receive(kind, seconds)
        except ClosedByBrokerError:
            return None

    def is_told(self, *reasons: int, seconds: float = WAIT_SECONDS) -> bool:
        """Whether the broker closes the connection in time, and says one of some reasons then, in MQTT 5."""
        if not self.is_closed_by_broker(seconds):
            return False
        return not reasons or self.level != LEVEL_5 or self.farewell in reasons

    def is_closed_by_broker(self, seconds: float = WAIT_SECONDS) -> bool:
        """Whether the broker closes the connection in time; what comes before is in the inbox."""
        deadline = time.monotonic() + seconds
        try:
            while (got := self._next(deadline)) is not None:
                self.inbox.append(got)
        except TimeoutError:
            return False
        return True

    def is_closed_for(self, *reasons: int, seconds: float = WAIT_SECONDS) -> bool:
        """Whether the broker closes the connection in time, and sends nothing before.

        In MQTT 5, except for a DISCONNECT with one of the reasons.
        """
        if not self.is_closed_by_broker(seconds):
            return False
        said = [(got.kind, reason_of(got)) for got in self.inbox]
        return said in [[(Kind.DISCONNECT, reason)] for reason in reasons] if self.level == LEVEL_5 else not said

    @property
    def farewell(self) -> int | None:
        """The reason in the DISCONNECT with which the broker closed the connection, if it said one."""
        last = self.inbox[-1] if self.inbox else None
        return reason_of(last) if last is not None and last.kind == Kind.DISCONNECT else None

    def new_number(self) -> int:
        """Return the next packet id."""
        self._number = self._number % LAST_NUMBER + 1
        return self._number

    def subscribe(self, *filters: str | bytes, qos: int = 0, options: int = 0, properties: bytes = b"") -> list[int]:
        """Subscribe, and return the SUBACK's codes; whatever says why a filter is refused is returned as 0x80.

        Options beside the QoS, and properties, are those of MQTT 5.
        """
        number = self.new_number()
        self.send(subscribe(number, *filters, qos=qos | options, level=self.level, properties=properties))
        got = self.receive(Kind.SUBACK)
        assert number_of(got) == number
        return granted_of(got, self.level)

    def unsubscribe(self, *filters: str | bytes) -> None:
        """Unsubscribe, and return after the UNSUBACK."""
        number = self.new_number()
        self.send(unsubscribe(number, *filters, level=self.level))
        got = self.receive(Kind.UNSUBACK)
        assert number_of(got) == number
        assert self.level == LEVEL_5 or len(got.body) == 2

    def publish(
        self,
        topic: str | bytes,
        payload: bytes = b"x",
        *,
        qos: int = 0,
        retain: bool = False,
        properties: bytes = b"",
    ) -> int:
        """Publish and finish the handshake; at QoS 0, return when the broker has handled it.

        Returns:
            the reason code of the first answer, which says in MQTT 5 alone that a message is refused.
        """
        number = self.new_number()
        packet = publish(topic, payload, qos=qos, number=number, retain=retain, level=self.level, properties=properties)
        self.send(packet, b"" if qos else PINGREQ)
        if not qos:
            self.receive(Kind.PINGRESP)
            return 0
        got = self.receive(Kind.PUBACK if qos == 1 else Kind.PUBREC)
        assert number_of(got) == number
        # MQTT 5, 4.3.3: a refusal ends the handshake.
        if qos == 2 and reason_of(got) < REFUSED:
            self.send(acknowledgement(Kind.PUBREL, number))
            assert number_of(self.receive(Kind.PUBCOMP)) == number
        return reason_of(got)

    def settle(self) -> None:
        """Return when the broker has handled all that was sent, and all that it sent before that is in the inbox."""
        self.send(PINGREQ)
        self.receive(Kind.PINGRESP)

    def publication(self, seconds: float = WAIT_SECONDS) -> Publication:
        """Return the next message, without acknowledging it."""
        return publication_of(self.receive(Kind.PUBLISH, seconds), self.level)

    def delivery(self, seconds: float = WAIT_SECONDS) -> Publication:
        """Return the next message and finish its handshake."""
        got = self.publication(seconds)
        self.acknowledge(got)
        return got

    def hear(self, count: int = 1, seconds: float = WAIT_SECONDS, *, acknowledges: bool = True) -> list[Publication]:
        """Wait for messages, acknowledge them if asked to, and return them; fewer when the time is over."""
        deadline = time.monotonic() + seconds
        heard: list[Publication] = []
        with contextlib.suppress(TimeoutError):
            while len(heard) < count:
                heard.append(self.publication(deadline - time.monotonic()))
                if acknowledges:
                    self.acknowledge(heard[-1])
        return heard

    def acknowledge(self, got: Publication) -> None:
        """Acknowledge a message, to the end of its handshake."""
        if got.qos == 1:
            self.send(acknowledgement(Kind.PUBACK, got.number))
        elif got.qos:
            self.send(acknowledgement(Kind.PUBREC, got.number))
            assert number_of(self.receive(Kind.PUBREL)) == got.number
            self.send(acknowledgement(Kind.PUBCOMP, got.number))

    def publications(self) -> list[Publication]:
        """Return every message that has come until now, without acknowledging any.

        What a persistent session is sent may have to be committed before.
        """
        if self._is_persistent:
            time.sleep(GROUP_COMMIT_SECONDS)
        self.settle()
        found = [publication_of(got, self.level) for got in self.inbox if got.kind == Kind.PUBLISH]
        self.inbox = deque(got for got in self.inbox if got.kind != Kind.PUBLISH)
        return found

    def payloads(self) -> list[bytes]:
        """Return what the messages say that have come until now."""
        return [got.payload for got in self.publications()]

    def _next(self, deadline: float) -> Packet | None:
        while (got := self._cut()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            try:
                data = self.stream.receive(left)
            except ConnectionError:
                return None
            if not data:
                return None
            self._buffer += data
        return got

    def _cut(self) -> Packet | None:
        """Take the first packet off the buffer, if all of it is there."""
        length = shift = 0
        for position in range(1, min(5, len(self._buffer))):
            digit = self._buffer[position]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                end = position + 1 + length
                if len(self._buffer) < end:
                    return None
                got = Packet(self._buffer[0] >> 4, self._buffer[0] & 0x0F, bytes(self._buffer[position + 1 : end]))
                del self._buffer[:end]
                return got
        return None
