"""How many packets of a client that floods are handled before the others have their turn: a number, not a time."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from websockets.frames import Frame
from websockets.server import ServerProtocol

from fleetkey.broker.packet_turns import PACKETS_PER_TURN
from fleetkey.broker.scheduler import CONNECTS_OF_ONE_KEY, CONNECTS_PER_TURN, FEEDS_PER_TURN, UPGRADES_PER_TURN
from fleetkey.broker.transport.websocket import FRAMES_PER_TURN
from tests.integration.broker.amqtt_plugins import PacketCounter
from tests.integration.broker.broker_rig import PLUGINS, running
from tests.support.flood import FLOODS, flooding
from tests.support.packets import connect, publish
from tests.support.streams import PING_FRAME, UPGRADE, TcpStream, WebSocketStream, frame, read_all
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TURNS_OF_ONE_ROUND = 2
"""What came and what had waited, when both fall into one round of the event loop."""
MOST_PACKETS = dict.fromkeys(FLOODS, PACKETS_PER_TURN) | {"filters": 1, "retained_asked_for": PACKETS_PER_TURN}
ROUNDS = 200
FLOOD_SECONDS = 20
CONNACK = b"\x20\x02"


async def _packets_of_rounds(rounds: int) -> list[int]:
    """Return how many packets were handled in each of so many rounds of the event loop in which there were any."""
    counts: list[int] = []
    async with asyncio.timeout(FLOOD_SECONDS):
        while len(counts) < rounds:
            before = PacketCounter.packets
            await asyncio.sleep(0)
            if PacketCounter.packets > before:
                counts.append(PacketCounter.packets - before)
    return counts


@pytest.mark.parametrize("kind", FLOODS)
def test_flood(tmp_path: Path, kind: str) -> None:
    """However fast a device sends, everybody else has a turn after so many of its packets; with filters, after one."""
    with running(tmp_path, {f"{PLUGINS}.PacketCounter": {}}) as (broker, hosted):
        attacker = broker.device()
        log_in = connect(attacker.client_id, username=attacker.key, password=attacker.secret)
        with flooding(broker.port, log_in, FLOODS[kind](attacker)):
            counting = asyncio.run_coroutine_threadsafe(_packets_of_rounds(ROUNDS), hosted.core.scheduler.loop)
            counts = counting.result(FLOOD_SECONDS + 5)
        assert max(counts) <= TURNS_OF_ONE_ROUND * MOST_PACKETS[kind], sorted(counts)[-5:]


def test_frames(tmp_path: Path) -> None:
    """The same for packets that come in a WebSocket's frames."""
    with running(tmp_path, {f"{PLUGINS}.PacketCounter": {}}, ws_bind="127.0.0.1:0") as (broker, hosted):
        device, port = broker.device(), hosted.port_of("ws")
        assert port is not None
        message = frame(publish(device.topic("x"), b""))
        log_in = frame(connect(device.client_id, username=device.key, password=device.secret))
        with TcpStream(port, UPGRADE + log_in) as client:
            while not client.receive().endswith(b"\x20\x02\x00\x00"):
                pass

            def flood() -> None:
                with suppress(OSError):
                    while True:
                        client.send(message * 5_000)

            sender = threading.Thread(target=flood)
            sender.start()
            counting = asyncio.run_coroutine_threadsafe(_packets_of_rounds(ROUNDS), hosted.core.scheduler.loop)
            try:
                counts = counting.result(FLOOD_SECONDS + 5)
            finally:
                client.end()
                sender.join()
        assert max(counts) <= TURNS_OF_ONE_ROUND * FRAMES_PER_TURN, sorted(counts)[-5:]


async def _changes_of_rounds(count: Callable[[], int], until: int) -> list[int]:
    """Return by how much a count that began at 0 grew in each round of the event loop, until it has grown so far."""
    changes = [count()]
    async with asyncio.timeout(FLOOD_SECONDS):
        while (before := count()) < until:
            await asyncio.sleep(0)
            changes.append(count() - before)
    return changes


@contextmanager
def _held(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let the event loop do nothing meanwhile, so that whatever is sent comes in one turn."""
    is_held, may_go_on = threading.Event(), threading.Event()

    def hold() -> None:
        is_held.set()
        may_go_on.wait(FLOOD_SECONDS)

    loop.call_soon_threadsafe(hold)
    assert is_held.wait(FLOOD_SECONDS)
    try:
        yield
    finally:
        may_go_on.set()


@pytest.mark.parametrize(("keys", "most"), [(4 * CONNECTS_PER_TURN, CONNECTS_PER_TURN), (1, CONNECTS_OF_ONE_KEY)])
def test_connects(tmp_path: Path, keys: int, most: int) -> None:
    """Of CONNECTs that come together, so many are answered in a turn, and fewer of one key's, each in the end."""
    with running(tmp_path) as (broker, hosted), ExitStack() as stack:
        core, clients = hosted.core, 4 * CONNECTS_PER_TURN
        applications = [broker.application() for _ in range(keys)] * (clients // keys)
        streams = [stack.enter_context(TcpStream(broker.port)) for _ in applications]
        assert eventually(lambda: len(core.connections) == clients)
        for application in applications[:keys]:
            with TcpStream(broker.port, connect("w", username=application.key, password=application.secret)) as warm:
                assert warm.receive()[:2] == CONNACK
        with _held(core.scheduler.loop):
            before = core.counters.connections
            for number, (application, stream) in enumerate(zip(applications, streams, strict=True)):
                stream.send(connect(f"c{number}", username=application.key, password=application.secret))
            rounds = asyncio.run_coroutine_threadsafe(
                _changes_of_rounds(lambda: core.counters.connections - before, clients), core.scheduler.loop
            )
        assert max(rounds.result(FLOOD_SECONDS)) <= TURNS_OF_ONE_ROUND * most
        assert all(stream.receive()[:4] == CONNACK + b"\0\0" for stream in streams)


def test_upgrades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for requests for a WebSocket; what came behind one is handled when it had its turn."""
    accepted, accept = [0], ServerProtocol.accept

    def counting(self: ServerProtocol, request: Any) -> Any:
        accepted[0] += 1
        return accept(self, request)

    monkeypatch.setattr(ServerProtocol, "accept", counting)
    with running(tmp_path, ws_bind="127.0.0.1:0") as (_, hosted), ExitStack() as stack:
        core, clients, port = hosted.core, 8 * UPGRADES_PER_TURN, hosted.port_of("ws")
        assert port is not None
        streams = [stack.enter_context(TcpStream(port)) for _ in range(clients)]
        assert eventually(lambda: len(core.connections) == clients)
        with _held(core.scheduler.loop):
            for stream in streams:
                stream.send(UPGRADE + frame(b"\xc0\x00"))
            rounds = asyncio.run_coroutine_threadsafe(
                _changes_of_rounds(lambda: accepted[0], clients), core.scheduler.loop
            )
        assert max(rounds.result(FLOOD_SECONDS)) <= TURNS_OF_ONE_ROUND * UPGRADES_PER_TURN
        for stream in streams:
            assert read_all(stream, websocket=True).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "burst", [frame(b"", PING_FRAME) * 80, frame(b"", 0x02) + frame(b"", 0) * 60], ids=["pings", "fragments"]
)
def test_frames_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, burst: bytes) -> None:
    """Of frames that come from many WebSockets together, so many are parsed in a turn, each in the end."""
    parsed, parse = [0], Frame.parse

    def counting(*arguments: Any, **options: Any) -> Any:
        found = yield from parse(*arguments, **options)
        parsed[0] += 1
        return found

    monkeypatch.setattr(Frame, "parse", counting)
    with running(tmp_path, ws_bind="127.0.0.1:0") as (_, hosted), ExitStack() as stack:
        core, clients, port = hosted.core, 8 * FEEDS_PER_TURN, hosted.port_of("ws")
        assert port is not None
        streams = [stack.enter_context(WebSocketStream(TcpStream(port))) for _ in range(clients)]
        with _held(core.scheduler.loop):
            for stream in streams:
                stream.under.send(burst)
            rounds = asyncio.run_coroutine_threadsafe(
                _changes_of_rounds(lambda: parsed[0], clients * len(burst) // len(frame(b""))), core.scheduler.loop
            )
        assert max(rounds.result(FLOOD_SECONDS)) <= TURNS_OF_ONE_ROUND * FEEDS_PER_TURN * FRAMES_PER_TURN
