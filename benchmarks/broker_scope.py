"""What deciding about every message costs, in the path of a message through the broker's core, in this process.

Ours is the product: devices that were let in by their secrets publish, packet by packet as from a socket, and the back
end is written to. The peer is the same core with the decisions cut out, in this benchmark only: it asks nobody whether
the sender may publish or the receiver receive, and doesn't look whether either was revoked. What a broker without
isolation needs as well stays in: framing, a well-formed topic, finding the receivers.

There are no sockets, so a message costs less than in a real broker, and the share of the decisions is more.

`known topics`: every device publishes to one topic again and again, as a fleet does. `new topics`: no topic comes
twice, so each is decided and routed for the first time.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import textwrap
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.bare_connections import Sink, admit, packet, text
from benchmarks.figure import Figure, Target
from benchmarks.logins import opened_authenticator
from benchmarks.rounds import alternate
from fleetkey.access import ConnectAttempt, Principal
from fleetkey.broker import FleetkeyBroker, Limits, broker_config, connection, scheduler
from fleetkey.broker.codec import Kind
from fleetkey.broker.connection import Connection
from fleetkey.cli.logs import configure_logs
from fleetkey.config import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.broker_fleet import BrokerFleet
    from fleetkey.access import Action, Authenticator
    from fleetkey.config import Settings

__all__ = ["scope_figures"]

DEVICES = 1_000
MESSAGES = 5_000
ROUNDS = 101
"""Many short ones: what is measured is small, and both sides should meet the same moments of the machine."""
PAYLOAD = b"x" * 64
SETTLE_SECONDS = 0.2
MICROSECONDS = 1e6


class _Anyone(Principal):
    """A principal that nobody asks anything."""

    __slots__ = ()

    def allows(self, action: Action, topic: str) -> bool:
        del action, topic
        return True

    def may_receive(self, topic: str) -> bool:
        del topic
        return True


def _anyone(principal: Principal) -> _Anyone:
    return _Anyone(
        key=principal.key,
        kind=principal.kind,
        device_id=principal.device_id,
        name=principal.name,
        scope=principal.scope,
    )


DECISIONS = {
    "_split": (
        """                if self._scope is not principal.scope:
                    self._scope = principal.scope
                    self._forget_topics()
""",
        """if principal.is_revoked:
                    route = None
                el""",
    ),
    "data_received": ("            and not principal.is_revoked\n",),
}
"""What the path of a message has in it only to decide about it, by method."""


def _without_decisions(method: str) -> Any:
    """Return a method of the connection without its decisions, made from its source, so that the rest is the same."""
    source = inspect.getsource(getattr(Connection, method))
    for decision in DECISIONS[method]:
        assert source.count(decision) == 1, decision
        source = source.replace(decision, "")
    names: dict[str, Any] = {}
    exec(textwrap.dedent(source), vars(connection), names)  # noqa: S102 - our own source
    return names[method]


class _UncheckedConnection(Connection):
    """A connection that passes every well-formed message on, whoever sent it."""

    __slots__ = ()

    data_received = _without_decisions("data_received")
    _split = _without_decisions("_split")


class _Core:
    """A broker without listeners, its devices connected and its back end subscribed."""

    def __init__(self, broker: FleetkeyBroker, kind: type[Connection], clients: list[str]) -> None:
        self._core = broker.core
        self._kind = kind
        self.back_end = Sink()
        self._admit(clients[0], self.back_end).data_received(
            packet(Kind.SUBSCRIBE << 4 | 2, b"\0\1" + text("devices/+/state/#") + b"\0")
        )
        self.devices = [self._admit(client, Sink()) for client in clients[1:]]

    def flush(self) -> None:
        """Write what was gathered, as at the end of a turn of the loop."""
        self._core.scheduler._flush()  # noqa: SLF001

    async def close(self) -> None:
        """Close the broker's store."""
        await self._core.close()

    def _admit(self, client: str, sink: Sink) -> Connection:
        client_id, username, password = client.split("\t")
        connection = admit(self._core, self._kind, sink, client_id, username, password)
        assert connection.session is not None
        assert connection.principal is not None
        if self._kind is _UncheckedConnection:
            connection.principal = connection.session.principal = _anyone(connection.principal)
        return connection


def scope_figures(folder: Path, fleet: BrokerFleet) -> list[Figure]:
    """Measure with topics that come again, and with topics that don't."""
    clients = fleet.clients.read_text().splitlines()[: DEVICES + 1]
    settings = load_settings(None, {"data_dir": fleet.data_dir})
    configure_logs(settings.log)
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        opened_authenticator(runner, fleet.data_dir) as authenticator,
    ):
        cores = runner.run(_open_cores(folder, settings, authenticator, clients))
        counter = itertools.count()

        def settle() -> None:
            """Let the core do what it left to later turns of the loop, such as releasing routes."""
            runner.run(asyncio.sleep(SETTLE_SECONDS))

        figures = [
            _figure("known topics", cores, settle, lambda: itertools.repeat("state"), (Target("ratio", "<=", 1.1),)),
            _figure("new topics", cores, settle, lambda: (f"state/{number}" for number in counter), ()),
        ]
        for core in cores:
            runner.run(core.close())
    return figures


async def _open_cores(
    folder: Path, settings: Settings, authenticator: Authenticator, clients: list[str]
) -> list[_Core]:
    """Return the core as it is, and without decisions."""
    for client in clients:
        client_id, username, password = client.split("\t")
        # From here on the secret is remembered, and a CONNECT is decided at once.
        await authenticator.authenticate(
            ConnectAttempt(client_id=client_id, username=username, password=password.encode(), address="127.0.0.1")
        )
    config, limits = broker_config(settings.mqtt, authenticator), Limits.from_settings(settings.mqtt)
    # All clients are let in within one turn of the loop here.
    scheduler.CONNECTS_PER_TURN = len(clients)
    return [
        _Core(FleetkeyBroker(config, authenticator, limits, folder / f"{kind.__name__}.db"), kind, clients)
        for kind in (Connection, _UncheckedConnection)
    ]


def _figure(
    name: str,
    cores: list[_Core],
    settle: Callable[[], None],
    tails: Callable[[], Iterator[str]],
    targets: tuple[Target, ...],
) -> Figure:
    checked, unchecked = cores

    def measure(core: _Core) -> float:
        settle()
        return _seconds_per_message(core, tails()) * MICROSECONDS

    ours, peer = alternate(partial(measure, checked), partial(measure, unchecked), rounds=ROUNDS)
    return Figure(
        name=f"broker, message path, {name}",
        unit="µs",
        ours_rounds=ours,
        peer_rounds=peer,
        peer_name="the same core without decisions about the message",
        targets=targets,
        note=f"{DEVICES:,} devices, {MESSAGES:,} messages a round, processor time, no sockets",
    )


def _seconds_per_message(core: _Core, tails: Iterator[str]) -> float:
    senders = itertools.islice(itertools.cycle(core.devices), MESSAGES)
    messages = [
        (sender, packet(Kind.PUBLISH << 4, text(f"devices/{sender.session.client_id}/{next(tails)}") + PAYLOAD))
        for sender in senders
        if sender.session is not None
    ]
    before = core.back_end.written
    start = time.thread_time()
    for sender, message in messages:
        sender.data_received(message)
    core.flush()
    seconds = time.thread_time() - start
    assert core.back_end.written - before == sum(len(message) for _, message in messages)
    return seconds / MESSAGES
