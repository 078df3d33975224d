"""How many packets of a client that floods are handled before the others have their turn: a number, not a time."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.connection import PACKETS_PER_TURN
from fleetkey.broker.transport.websocket import FEED_BYTES, FRAMES_PER_TURN
from tests.integration.broker.amqtt_plugins import PacketCounter
from tests.integration.broker.broker_rig import PLUGINS, running
from tests.support.flood import FLOODS, flooding
from tests.support.packets import connect, publish
from tests.support.streams import UPGRADE, TcpStream, frame

if TYPE_CHECKING:
    from pathlib import Path

TURNS_OF_ONE_ROUND = 2
"""What came and what had waited, when both fall into one round of the event loop."""
MOST_PACKETS = dict.fromkeys(FLOODS, PACKETS_PER_TURN) | {"filters": 1, "retained_asked_for": PACKETS_PER_TURN}
ROUNDS = 200
FLOOD_SECONDS = 20


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
    """The same for packets that come in a WebSocket's frames: so many, and what had been parsed with them."""
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
        most = FRAMES_PER_TURN + FEED_BYTES // len(message)
        assert max(counts) <= TURNS_OF_ONE_ROUND * most, sorted(counts)[-5:]
