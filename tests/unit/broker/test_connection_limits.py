"""How many connections there may be, by every bound, and which are closed for their silence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from fleetkey.broker.bounds import BoundLog
from fleetkey.broker.codec import Reason
from fleetkey.broker.connection_limits import MAX_PENDING_BYTES, ConnectionLimits
from fleetkey.broker.counters import Counters
from fleetkey.broker.scheduler import TICK_SECONDS
from fleetkey.operations import Descriptors
from tests.unit.broker.rig import Loop, limits

if TYPE_CHECKING:
    from fleetkey.broker.ports import WriteScheduler

TIMEOUT_SECONDS = 10


class Client:
    """A connection that notes how it was closed."""

    def __init__(self, address: str = "192.0.2.1") -> None:
        self.address = address
        self.listener = "tcp"
        self.keep_alive_seconds = 0.0
        self.last_heard = 0.0
        self.is_suspended = False
        self.held_back_by = 0
        self.transport: Any = SimpleNamespace(get_extra_info=lambda _: None)
        self.ended: list[tuple[str, Reason]] = []

    def close(self, reason: Reason, *, is_graceful: bool = False) -> None:
        """Note it."""
        del is_graceful
        self.ended.append(("close", reason))

    def abort(self, reason: Reason) -> None:
        """Note it."""
        self.ended.append(("abort", reason))


class Rig:
    """Connections under some bounds."""

    def __init__(self, **bounds: int) -> None:
        self.loop, self.counters = Loop(), Counters()
        self.connections = ConnectionLimits(
            limits(connect_timeout_seconds=TIMEOUT_SECONDS, **bounds),
            BoundLog(self.counters),
            cast("WriteScheduler", self.loop),
            Descriptors(),
        )

    def arrive(self, address: str = "192.0.2.1", *, is_admitted: bool = False) -> Client | None:
        """Return a new connection; None if there is no room for it."""
        client = Client(address)
        if not self.connections.arrived(client):
            return None
        if is_admitted:
            self.connections.admitted(client)
        return client

    def has_nothing(self) -> bool:
        """Whether nothing is counted, or remembered of anyone."""
        counted = self.connections
        return not (
            len(counted)
            or counted._pending
            or counted._held
            or counted._held_bytes
            or counted._pending_per_address
            or counted._per_address
        )


@pytest.mark.parametrize(
    ("bound", "address", "is_admitted", "is_other_kept_out"),
    [
        pytest.param("max_connections", "192.0.2.2", True, True, id="all"),
        pytest.param("max_pending_connections", "192.0.2.2", False, True, id="pending"),
        pytest.param("max_pending_per_address", "192.0.2.2", False, False, id="pending_of_another_address"),
        pytest.param("max_connections_per_address", "192.0.2.2", True, False, id="another_address"),
    ],
)
def test_arrived_at_bound(bound: str, address: str, *, is_admitted: bool, is_other_kept_out: bool) -> None:
    """The next is kept out and counted, elsewhere too if the bound is for all; one that left makes room."""
    rig = Rig(**{bound: 2})
    first, second = (rig.arrive(is_admitted=is_admitted) for _ in range(2))
    assert first is not None
    assert second is not None
    assert rig.arrive() is None
    assert rig.counters.bounds == {bound: 1}
    assert (rig.arrive(address) is None) is is_other_kept_out
    rig.connections.left(first)
    assert rig.arrive() is not None


def test_arrived_same_network() -> None:
    """IPv6 addresses of one /64 are one."""
    rig = Rig(max_connections_per_address=1)
    assert rig.arrive("2001:db8::1") is not None
    assert rig.arrive("2001:db8::2") is None
    assert rig.arrive("2001:db8:0:1::1") is not None


def test_arrived_without_bound_per_address() -> None:
    """0 is no bound."""
    rig = Rig(max_connections_per_address=0, max_pending_per_address=0)
    assert all(rig.arrive() for _ in range(100))


def test_admitted() -> None:
    """Who has proven who it is takes no place of those that haven't."""
    rig = Rig(max_pending_connections=1)
    for _ in range(3):
        client = rig.arrive()
        assert client is not None
        for _ in range(2):
            rig.connections.admitted(client)
    assert len(rig.connections) == 3


def test_left() -> None:
    """Nothing is left of a connection, however far it came and however often its end is told."""
    rig = Rig()
    pending, admitted, refused = rig.arrive(), rig.arrive(is_admitted=True), Client()
    assert pending is not None
    assert admitted is not None
    for buffer in ("frames", "packets"):
        rig.connections.holds(pending, buffer, 100)
    for _ in range(2):
        for client in (pending, admitted, refused):
            rig.connections.left(client)
    assert rig.has_nothing()


def test_holds() -> None:
    """What is kept of all that wait for their answer has a bound; what one has more counts from what it had."""
    rig = Rig()
    first, second = rig.arrive(), rig.arrive()
    assert first is not None
    assert second is not None
    assert rig.connections.holds(first, "packets", 100)
    assert rig.connections.holds(first, "packets", MAX_PENDING_BYTES - 10)
    assert not rig.connections.holds(second, "packets", 11)
    assert rig.connections.holds(second, "packets", 10)
    assert rig.counters.bounds == {"pending_bytes": 1}
    rig.connections.admitted(first)
    assert rig.connections.holds(second, "packets", MAX_PENDING_BYTES)
    # Who is in has bounds of its own.
    assert rig.connections.holds(first, "packets", 2 * MAX_PENDING_BYTES)


def test_holds_buffers() -> None:
    """The buffers of one client count together, each with what it keeps now; who keeps less is never refused."""
    rig = Rig()
    first, second = rig.arrive(), rig.arrive()
    assert first is not None
    assert second is not None
    assert rig.connections.holds(first, "frames", 600)
    assert rig.connections.holds(first, "packets", MAX_PENDING_BYTES - 1_000)
    assert not rig.connections.holds(second, "frames", 401)
    assert rig.connections.holds(first, "frames", 100)
    assert rig.connections.holds(second, "frames", 900)
    assert not rig.connections.holds(second, "packets", 1)
    assert rig.connections.holds(second, "frames", 899)
    assert rig.connections.holds(second, "packets", 1)
    for client in (first, second):
        rig.connections.left(client)
    assert rig.has_nothing()


def test_expire_undecided() -> None:
    """Who hasn't proven in time who it is is cut off, whoever came later isn't."""
    rig = Rig()
    early, admitted = rig.arrive(), rig.arrive(is_admitted=True)
    rig.loop.now = 1.0
    late = rig.arrive()
    assert early is not None
    assert late is not None
    assert admitted is not None
    rig.connections.expire(TIMEOUT_SECONDS - 0.1)
    assert early.ended == []
    rig.connections.expire(TIMEOUT_SECONDS)
    assert early.ended == [("abort", Reason.CONNECT_TIMEOUT)]
    assert late.ended == admitted.ended == []


@pytest.mark.parametrize(
    ("keep_alive", "is_suspended", "silent_for", "is_closed"),
    [
        pytest.param(15.0, False, 15.0 + TICK_SECONDS, False, id="in_time"),
        pytest.param(15.0, False, 15.1 + TICK_SECONDS, True, id="silent"),
        pytest.param(15.0, True, 1_000.0, False, id="not_read_from"),
        pytest.param(0.0, False, 1_000.0, False, id="without_keep_alive"),
    ],
)
def test_expire_silent(keep_alive: float, silent_for: float, *, is_suspended: bool, is_closed: bool) -> None:
    """A broken keep-alive ends a connection, as late as a tick after it."""
    rig = Rig()
    client = rig.arrive(is_admitted=True)
    assert client is not None
    client.keep_alive_seconds, client.is_suspended = keep_alive, is_suspended
    rig.connections.expire(silent_for)
    assert client.ended == ([("close", Reason.KEEP_ALIVE_TIMEOUT)] if is_closed else [])


def test_close_all() -> None:
    """Everyone is closed, and nobody comes in any more."""
    rig = Rig()
    clients = [rig.arrive(), rig.arrive(is_admitted=True)]
    rig.connections.close_all()
    assert [client and client.ended for client in clients] == [[("close", Reason.SERVER_SHUTTING_DOWN)]] * 2
    assert rig.arrive() is None
    assert rig.counters.bounds == {}
