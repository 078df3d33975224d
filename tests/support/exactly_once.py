"""Both ends of an exactly-once delivery, as a careful client keeps them through any number of lost connections."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.support.packets import PINGREQ, Kind, acknowledgement, number_of, publication_of, publish
from tests.support.wire import Wire

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.support.fleet import Credentials, Fleet

__all__ = ["Receiver", "Sender"]

PINGRESP = 13
MAX_STEPS = 20_000


class _Client:
    """Keeps its state; its connection is whatever is there at the moment."""

    def __init__(self, fleet: Fleet, who: Credentials, *, websocket: bool = False) -> None:
        self.fleet = fleet
        self.who = who
        self.websocket = websocket
        self.wire: Wire | None = None

    def connect(self) -> Wire:
        """Come back to the session."""
        self.close()
        self.wire = Wire.to(self.fleet, websocket=self.websocket)
        return self.wire.enter(self.who, clean=False)

    def close(self) -> None:
        """Lose the connection."""
        if self.wire is not None:
            self.wire.close()
            self.wire = None


class Sender(_Client):
    """Sends payloads at QoS 2, one handshake after the other, and begins again where it was after a loss."""

    def __init__(
        self, fleet: Fleet, who: Credentials, topic: str, payloads: Sequence[bytes], *, websocket: bool = False
    ) -> None:
        super().__init__(fleet, who, websocket=websocket)
        self._topic = topic
        self._waiting = list(payloads)
        self._is_received = False
        self._was_sent = False
        self._number = 1

    @property
    def is_done(self) -> bool:
        """Whether every handshake has ended."""
        return not self._waiting

    def step(self, loses: random.Random | None = None, chance: float = 0.0) -> None:
        """Do one half of a handshake; with a chance, lose the connection before the answer comes."""
        if self.is_done:
            return
        try:
            wire = self.wire or self.connect()
            if self._is_received:
                wire.send(acknowledgement(Kind.PUBREL, self._number))
            else:
                again, self._was_sent = self._was_sent, True
                wire.send(publish(self._topic, self._waiting[0], qos=2, number=self._number, dup=again))
            if loses is not None and loses.random() < chance:
                self.close()
                return
            answer = wire.find(Kind.PUBCOMP if self._is_received else Kind.PUBREC)
        except (ConnectionError, AssertionError):
            answer = None
        if answer is None:
            self.close()
            return
        assert number_of(answer) == self._number
        if self._is_received:
            del self._waiting[0]
            self._was_sent = False
            # Three ids in turn, so that a forgotten one would be met again soon.
            self._number = self._number % 3 + 1
        self._is_received = not self._is_received


class Receiver(_Client):
    """Takes messages at QoS 2 by method A of 4.3.3: one is delivered when its id is new."""

    def __init__(self, fleet: Fleet, who: Credentials, topic: str, *, websocket: bool = False) -> None:
        super().__init__(fleet, who, websocket=websocket)
        self.delivered: list[bytes] = []
        self._open: set[int] = set()
        assert self.connect().subscribe(topic, qos=2) == [2]

    def take(self, loses: random.Random | None = None, chance: float = 0.0) -> None:
        """Handle what the broker has sent until it answers a ping; with a chance, lose the connection at any point."""
        with contextlib.suppress(ConnectionError, AssertionError):
            wire = self.wire or self.connect()
            wire.send(PINGREQ)
            for _ in range(MAX_STEPS):
                got = wire.read()
                if got is None:
                    break
                if got.kind == PINGRESP:
                    return
                if loses is not None and loses.random() < chance:
                    break
                if got.kind == Kind.PUBLISH:
                    heard = publication_of(got)
                    if heard.number not in self._open:
                        self._open.add(heard.number)
                        self.delivered.append(heard.payload)
                    wire.send(acknowledgement(Kind.PUBREC, heard.number))
                elif got.kind == Kind.PUBREL:
                    number = number_of(got)
                    self._open.discard(number)
                    wire.send(acknowledgement(Kind.PUBCOMP, number))
                if loses is not None and loses.random() < chance:
                    break
        self.close()
