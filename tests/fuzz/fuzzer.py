"""Mutated packets on many connections against a running broker, with a victim who must not notice."""

from __future__ import annotations

import random
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from tests.fuzz.mutations import ASKED, LEVELS, anything_of_5, connects, mutate, packets
from tests.support.packets import connect
from tests.support.streams import BINARY_FRAME, TcpStream, WebSocketStream, frame
from tests.support.versions import LEVEL_5
from tests.support.wire import Wire

if TYPE_CHECKING:
    from tests.support.fleet import Credentials, Fleet

__all__ = ["Fuzzer"]

CONNECTIONS = 40
MAX_BATCH = 6
REMEMBERED = 60
COMPOSED = 0.3
MUTATED, BEFORE_CONNECT, OVER_WEBSOCKET, SPOILT_FRAME, GIVEN_UP = 0.4, 0.2, 0.1, 0.1, 0.3


class _Slot:
    """One of the fuzzer's connections."""

    def __init__(self, stream: TcpStream | WebSocketStream, corpus: list[bytes], level: int) -> None:
        self.stream = stream
        self.corpus = corpus
        self.level = level


class Fuzzer:
    """Sends packets of both versions, most of them spoilt, from connections that are in and connections that are not.

    After each round the victim must be served and have heard nothing, and the observer must have heard nothing beyond
    the attackers' own topics.
    """

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.sent = 0
        self._fleet = fleet
        self._chance = random.Random(seed)
        self._recent: deque[str] = deque(maxlen=REMEMBERED)
        device = fleet.device()
        backend = fleet.application(device_ids=(device.client_id,))
        self._own = device.topic("")
        self._attackers = [device, *(replace(backend, client_id=f"app-fuzz-{n}") for n in range(1, CONNECTIONS))]
        self._victim_key = fleet.device()
        foreign = self._victim_key.topic("")
        self._after = {level: packets(self._own, foreign, device.client_id, level) for level in LEVELS}
        self._before = {who.client_id: connects(who, self._victim_key, self._own) for who in self._attackers}
        self._slots: list[_Slot | None] = [None] * CONNECTIONS
        everything = fleet.application(publish=("#",), subscribe=("#",))
        self._victim = Wire.to(fleet).enter(self._victim_key, keep_alive_seconds=0)
        self._observer = Wire.to(fleet).enter(everything, keep_alive_seconds=0)
        self._victim.subscribe(self._victim_key.topic("#"), qos=1)
        self._observer.subscribe("#")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop_all()
        self._victim.close()
        self._observer.close()

    def run(self, count: int) -> None:
        """Send at least so many packets; after each round of all connections the broker has caught up."""
        ends = self.sent + count
        while self.sent < ends:
            for number, who in enumerate(self._attackers):
                slot = self._slots[number] or self._open(who)
                if slot is not None and not self._send(slot):
                    slot.stream.close()
                    slot = None
                self._slots[number] = slot
            self.check()

    def check(self) -> None:
        """Assert that victim and observer are served and heard nothing that they shouldn't."""
        assert self._victim.publications() == [], self._recent
        # `devices/ID/#` reaches `devices/ID` as well (4.7.1.2).
        foreign = [m.topic for m in self._observer.publications() if not f"{m.topic}/".startswith(self._own)]
        assert not foreign, (foreign, self._recent)

    def drop_all(self) -> None:
        """Close all connections."""
        for slot in self._slots:
            if slot is not None:
                slot.stream.close()
        self._slots = [None] * CONNECTIONS

    def _open(self, who: Credentials) -> _Slot | None:
        """Open a connection; most of them come in before anything else is sent."""
        chance = self._chance
        over_websocket = chance.random() < OVER_WEBSOCKET
        server = self._fleet.server
        tcp = TcpStream(server.ws_port if over_websocket else server.mqtt_port)
        try:
            stream = WebSocketStream(tcp) if over_websocket else tcp
            level = chance.choice(LEVELS)
            if chance.random() < BEFORE_CONNECT:
                corpus = self._before[who.client_id]
            else:
                corpus = self._after[level]
                clean = chance.random() < 0.8
                asked = chance.choice(ASKED)
                stream.send(connect(who.client_id, who.key, who.secret, clean=clean, level=level, properties=asked))
                stream.receive()
        except OSError:
            tcp.close()
            return None
        return _Slot(stream, corpus, level)

    def _send(self, slot: _Slot) -> bool:
        """Send a batch; False when the connection is over."""
        chance = self._chance
        batch = chance.choices(slot.corpus, k=chance.randrange(1, MAX_BATCH + 1))
        if slot.level == LEVEL_5 and chance.random() < COMPOSED:
            batch[-1] = anything_of_5(self._own, chance)
        data = b"".join(mutate(packet, chance) if chance.random() < MUTATED else packet for packet in batch)
        self.sent += len(batch)
        self._recent.append(data.hex())
        try:
            if isinstance(slot.stream, WebSocketStream):
                data = frame(data, chance.randrange(256) if chance.random() < SPOILT_FRAME else BINARY_FRAME)
            raw = slot.stream.raw
            raw.settimeout(0)
            raw.send(data)
            with suppress(BlockingIOError):
                while raw.recv(65_536):
                    pass
                return False
        except OSError:
            return False
        # A packet that was made to look long would swallow everything behind it.
        return chance.random() > GIVEN_UP
