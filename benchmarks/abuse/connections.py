"""The connections of one attacker, in one thread, over non-blocking sockets.

Everything that is sent was made before, so that the attacker needs less time than the server whatever it does.
"""

from __future__ import annotations

import heapq
import select
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.abuse.plan import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.abuse.plan import Plan

__all__ = ["Report", "carry_out"]

PREPARE_SECONDS = 30.0
"""How long the connections of a preparation may take, all plans together; then the attack begins all the same."""
RISE_SECONDS = 2.0
"""How long the connections may take to be there, before what they do is measured all the same."""
MAX_OPENED = 500_000
RETRY_SECONDS = 0.05
TURN_SECONDS = 0.05
RECEIVE_BYTES = 1 << 18
SEND_BYTES = SEND_BUFFER = 1 << 17
"""What the kernel holds of what is sent is little, so that what counts as sent was nearly all taken."""
FIRST_ADDRESS = 0x7F010001
"""127.1.0.1: the victims come from 127.0.0.0/16."""
BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the attacker did.

    Args:
        noun: what was counted, by the first plan.
        count: how many.
        sent_bytes: of all plans.
        seconds: meanwhile.
        opened: connections.
        closed: connections that the server closed.
        held: connections open at once, at most.
        is_held: those are what was counted.
        prepared: how many connections did their part of the preparation.
        to_prepare: how many it had.
    """

    noun: str
    count: int
    sent_bytes: int
    seconds: float
    opened: int
    closed: int
    held: int
    is_held: bool
    prepared: int
    to_prepare: int


@dataclass(frozen=True, slots=True)
class _Slot:
    """Place of a connection, which is opened again and again."""

    plan: Plan
    number: int
    flood: Sequence[bytes]


class _Connection:
    """A socket and how far it is in its plan."""

    __slots__ = (
        "awaited",
        "dripped",
        "index",
        "is_flooding",
        "is_in",
        "is_open",
        "output",
        "pieces",
        "plan",
        "slot",
        "socket",
        "steps",
        "watched",
    )

    def __init__(self, index: int, slot: _Slot, raw: socket.socket, number: int) -> None:
        self.index = index
        self.slot = slot
        self.plan = slot.plan
        self.socket = raw
        self.steps = deque(slot.plan.steps(slot.number, number))
        self.output = memoryview(b"")
        self.pieces: deque[bytes] = deque()
        """What follows the output."""
        self.awaited = self.dripped = 0
        """Bytes: of the step's answers that are missing, and of the drip that are sent."""
        self.is_open = True
        self.is_in = self.is_flooding = False
        self.watched = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP


class _Crowd:
    """All of them."""

    def __init__(self, plans: Sequence[Plan], *, is_preparing: bool = False) -> None:
        self.is_preparing = is_preparing
        """Whether each connection is opened until it has left of itself once."""
        self.first = plans[0]
        self.poll = select.epoll()
        self.slots = [
            _Slot(plan, number, _pieces(plan.flood(number)) if plan.flood is not None else ())
            for plan in plans
            for number in range(plan.connections)
        ]
        self.by_descriptor: dict[int, _Connection] = {}
        self.to_open = [(0.0, index) for index in range(len(self.slots))]
        self.drips = {plan: 0.0 for plan in plans if plan.drip}
        self.number = self.entered = self.held = self.prepared = 0
        self.forget_counts()

    def turn(self) -> None:
        """Do what can be done without waiting long."""
        now = time.monotonic()
        while self.to_open and self.to_open[0][0] <= now and self.number < MAX_OPENED:
            self._open(heapq.heappop(self.to_open)[1])
        self._drip(now)
        for descriptor, events in self.poll.poll(TURN_SECONDS):
            if (connection := self.by_descriptor.get(descriptor)) is not None:
                try:
                    self._on(connection, events)
                except OSError:
                    self._is_closed(connection)

    def forget_counts(self) -> None:
        """Count from now on."""
        self.opened = self.closed = self.left = self.sent = self.flooded = 0

    def count(self) -> int:
        """Return how many of what the first plan counts."""
        if self.first.leaves:
            return self.left
        if self.first.flood is None:
            return self.held
        return self.flooded * self.first.per_flood // sum(map(len, self.slots[0].flood))

    def _open(self, index: int) -> None:
        slot, number = self.slots[index], self.number
        plan = slot.plan
        try:
            raw = socket.socket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:
            # The attacker has no more descriptors.
            self._open_later(index, RETRY_SECONDS)
            return
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if plan.receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, plan.receive_buffer)
        self.number += 1
        self.opened += 1
        try:
            raw.bind((socket.inet_ntoa((FIRST_ADDRESS + number % plan.addresses).to_bytes(4, "big")), 0))
            raw.connect_ex(("127.0.0.1", plan.port))
        except OSError:
            raw.close()
            self._open_later(index, RETRY_SECONDS)
            return
        connection = _Connection(index, slot, raw, number)
        self.poll.register(raw.fileno(), connection.watched)
        self.by_descriptor[raw.fileno()] = connection
        self.held = max(self.held, len(self.by_descriptor))
        self._go_on(connection)

    def _go_on(self, connection: _Connection) -> None:
        """Begin the next step, or what comes after the last one."""
        if connection.steps:
            step = connection.steps.popleft()
            step = step if isinstance(step, Step) else Step(step)
            connection.output, connection.awaited = memoryview(step.data), step.answer_bytes
        else:
            connection.is_in = True
            self.entered += 1
            connection.output = memoryview(connection.plan.lead(connection.slot.number))

    def _on(self, connection: _Connection, events: int) -> None:
        if events & (select.EPOLLERR | select.EPOLLHUP):
            self._is_closed(connection)
            return
        if events & select.EPOLLIN and (connection.plan.is_reading or not connection.is_in):
            received = len(connection.socket.recv(RECEIVE_BYTES))
            if not received:
                self._is_closed(connection)
                return
            connection.awaited -= received
            if not connection.is_in and not connection.output and connection.awaited <= 0:
                self._go_on(connection)
        elif events & select.EPOLLRDHUP:
            self._is_closed(connection)
            return
        self._send(connection)
        if connection.is_open:
            self._watch(connection)

    def _send(self, connection: _Connection) -> None:
        try:
            self._send_output(connection)
            if connection.output or not connection.is_in:
                return
            if connection.plan.leaves:
                self._leave(connection)
            elif connection.slot.flood:
                if not connection.pieces:
                    connection.pieces.extend(connection.slot.flood)
                connection.output, connection.is_flooding = memoryview(connection.pieces.popleft()), True
                self._send_output(connection)
        except BlockingIOError:
            pass

    def _send_output(self, connection: _Connection) -> None:
        if not connection.output:
            return
        sent = connection.socket.send(connection.output[:SEND_BYTES])
        connection.output = connection.output[sent:]
        self.sent += sent
        if connection.is_flooding and connection.plan is self.first:
            self.flooded += sent

    def _watch(self, connection: _Connection) -> None:
        wanted = select.EPOLLRDHUP
        if connection.plan.is_reading or not connection.is_in:
            wanted |= select.EPOLLIN
        if connection.output or (connection.is_in and connection.slot.flood):
            wanted |= select.EPOLLOUT
        if wanted != connection.watched:
            connection.watched = wanted
            self.poll.modify(connection.socket.fileno(), wanted)

    def _drip(self, now: float) -> None:
        for plan, due in self.drips.items():
            if now < due:
                continue
            self.drips[plan] = now + plan.drip_seconds
            for connection in list(self.by_descriptor.values()):
                if connection.plan is plan and connection.is_in and not connection.output:
                    at = connection.dripped
                    connection.output = memoryview(plan.drip)[at : at + plan.drip_bytes or len(plan.drip)]
                    connection.dripped += plan.drip_bytes
                    try:
                        self._send(connection)
                    except OSError:
                        self._is_closed(connection)

    def _leave(self, connection: _Connection) -> None:
        self.left += 1
        if self.is_preparing:
            self.prepared += 1
            self._close(connection)
        else:
            self._drop(connection)

    def _is_closed(self, connection: _Connection) -> None:
        self.closed += 1
        if connection.plan.leaves and not connection.steps:
            self.left += 1
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        self._close(connection)
        self._open_later(connection.index, max(connection.plan.reopen_seconds, RETRY_SECONDS * self.is_preparing))

    def _close(self, connection: _Connection) -> None:
        del self.by_descriptor[connection.socket.fileno()]
        connection.socket.close()
        connection.is_open = False

    def _open_later(self, index: int, seconds: float) -> None:
        heapq.heappush(self.to_open, (time.monotonic() + seconds, index))

    def close(self) -> None:
        """Close all connections."""
        for connection in self.by_descriptor.values():
            connection.socket.close()
        self.poll.close()


def _pieces(flood: bytes | Sequence[bytes]) -> Sequence[bytes]:
    return (flood,) if isinstance(flood, bytes) else flood


def _prepare(plans: Sequence[Plan], *, is_stopped: Callable[[], bool]) -> int:
    """Do what the plans say once, one after the other; return how many connections did it in `PREPARE_SECONDS`."""
    deadline = time.monotonic() + PREPARE_SECONDS
    prepared = 0
    for plan in plans:
        crowd = _Crowd([plan], is_preparing=True)
        while crowd.prepared < len(crowd.slots) and time.monotonic() < deadline and not is_stopped():
            crowd.turn()
        prepared += crowd.prepared
        crowd.close()
    return prepared


def carry_out(
    plans: Sequence[Plan],
    seconds: float,
    *,
    preparation: Sequence[Plan],
    begin: Callable[[], None],
    is_stopped: Callable[[], bool],
) -> Report:
    """Do what the plans say, from when the connections are there.

    Args:
        plans: the first one is counted.
        preparation: comes before.
        seconds: how long.
        begin: is called when the connections are there.
        is_stopped: whether to end before.
    """
    prepared = _prepare(preparation, is_stopped=is_stopped)
    crowd = _Crowd(plans)
    deadline = time.monotonic() + RISE_SECONDS
    while crowd.entered < len(crowd.slots) and time.monotonic() < deadline and not is_stopped():
        crowd.turn()
    begin()
    crowd.forget_counts()
    start = time.monotonic()
    while time.monotonic() < start + seconds and not is_stopped():
        crowd.turn()
    report = Report(
        noun=crowd.first.noun,
        count=crowd.count(),
        sent_bytes=crowd.sent,
        seconds=time.monotonic() - start,
        opened=crowd.opened,
        closed=crowd.closed,
        held=crowd.held,
        is_held=crowd.first.flood is None and not crowd.first.leaves,
        prepared=prepared,
        to_prepare=sum(plan.connections for plan in preparation),
    )
    crowd.close()
    return report
