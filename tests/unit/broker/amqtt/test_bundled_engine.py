"""The bundled engine's every method, with clients that are no sockets; the same over sockets is in the integration."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker import EngineError, ListenerError, ListenerName
from fleetkey.broker.codec import Reason
from fleetkey.broker.engine import OwnedMessages, SessionInfo
from tests.support import packets as wire
from tests.unit.broker.amqtt.engine_rig import DEVICE, OTHER, new_engine
from tests.unit.broker.rig import Transport, message

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.broker.amqtt.engine_rig import EngineRig


async def test_listeners(rig: EngineRig, tmp_path: Path) -> None:
    """None where none is set; otherwise the ports that the system picked."""
    assert await rig.engine.listeners() == {}
    assert rig.engine.tls_contexts == []
    (tmp_path / "second").mkdir()
    engine = new_engine(tmp_path / "second", ws_bind="127.0.0.1:0")
    await engine.start()
    ports = await engine.listeners()
    assert list(ports) == [ListenerName.WEBSOCKET]
    assert ports[ListenerName.WEBSOCKET] > 0
    await engine.stop()


async def test_start_address_in_use(tmp_path: Path) -> None:
    """A listener that can't be bound is named."""
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        engine = new_engine(tmp_path, bind=f"127.0.0.1:{port}")
        with pytest.raises(ListenerError) as error:
            await engine.start()
    assert error.value.listener is ListenerName.TCP


async def test_file_of_something_else(tmp_path: Path) -> None:
    """A file that is no broker's is an error of the engine's."""
    (tmp_path / "broker.db").write_text("no database at all" * 100)
    with pytest.raises(EngineError):
        new_engine(tmp_path)


async def test_counters(rig: EngineRig) -> None:
    """Sessions and retained messages as of now, what happened since the start."""
    rig.join(DEVICE, "x")
    rig.retain("r", DEVICE)
    rig.core.router.publish(message("x"))
    counted = await rig.engine.counters()
    assert (counted.connections, counted.sessions, counted.retained) == (0, 1, 1)
    assert counted.messages_delivered == 1
    assert (counted.refusals, counted.disconnections, counted.bounds) == ({}, {}, {})


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        pytest.param(wire.connect_fields(0x02, "c", level=6), 1, id="version"),
        pytest.param(wire.connect("c", "u", b"p", will=wire.Will("x" * 2_000)), 5, id="will"),
    ],
)
async def test_counters_of_refusals(rig: EngineRig, packet: bytes, code: int) -> None:
    """Every CONNECT that is refused is counted by the code that it was answered."""
    transport = Transport()
    connection = rig.core.connection("tcp", is_websocket=False)
    connection.connection_made(transport)  # type: ignore[arg-type] # the part of it that is used
    connection.data_received(packet)
    connection.connection_lost(None)
    assert transport.is_closed
    assert transport.written == bytes([0x20, 2, 0, code])
    assert (await rig.engine.counters()).refusals == {code: 1}


async def test_can_store(rig: EngineRig) -> None:
    """As the last commit went."""
    assert await rig.engine.can_store()
    rig.core._store.is_failing = True
    assert not await rig.engine.can_store()
    rig.core._store.is_failing = False


async def test_owners_and_connected(rig: EngineRig) -> None:
    """Whose sessions or retained messages there are, and who is here; the broker itself is nobody."""
    rig.join(DEVICE)
    away, _ = rig.join(OTHER)
    away.close(Reason.CONNECTION_LOST)
    rig.retain("r", "application")
    rig.retain("$SYS/x", "")
    tap = rig.engine.tap(["#"])
    await anext(tap)
    assert await rig.engine.owners() == {DEVICE, OTHER, "application"}
    assert await rig.engine.connected() == {DEVICE}
    await tap.aclose()  # type: ignore[attr-defined] # a generator


async def test_sessions_of(rig: EngineRig) -> None:
    """What is known of an owner's sessions, here or away."""
    sink, _ = rig.join(DEVICE, "x", "y/#")
    expected = {"client_id": DEVICE, "owner": DEVICE, "filters": ("x", "y/#")}
    assert await rig.engine.sessions_of(DEVICE) == [SessionInfo(is_connected=True, address=sink.address, **expected)]  # type: ignore[arg-type] # a mixture
    sink.close(Reason.CONNECTION_LOST)
    assert await rig.engine.sessions_of(DEVICE) == [SessionInfo(is_connected=False, address="", **expected)]  # type: ignore[arg-type] # a mixture
    assert await rig.engine.sessions_of(OTHER) == []


async def test_messages_of(rig: EngineRig) -> None:
    """What waits and what is retained, in messages and bytes."""
    sink, _ = rig.join(DEVICE, "x")
    sink.close(Reason.CONNECTION_LOST)
    for _ in range(2):
        rig.core.router.publish(message("x", b"1234", 1))
    rig.retain("r", DEVICE)
    rig.retain("other", OTHER)
    assert await rig.engine.messages_of(DEVICE) == OwnedMessages(
        queued=2, queued_bytes=10, retained=1, retained_bytes=4
    )
    assert await rig.engine.messages_of("nobody") == OwnedMessages(
        queued=0, queued_bytes=0, retained=0, retained_bytes=0
    )


@pytest.mark.parametrize("sends_will", [True, False])
async def test_disconnect(rig: EngineRig, *, sends_will: bool) -> None:
    """An owner's connections are closed with the reason, with or without their wills; nobody else's."""
    sink, session = rig.join(DEVICE)
    other, _ = rig.join(OTHER)
    assert await rig.engine.disconnect(DEVICE, Reason.REVOKED, sends_will=sends_will) == 1
    assert sink.closed == [Reason.REVOKED]
    assert sink.was_graceful is not sends_will
    assert other.closed == []
    assert not session.is_over
    assert await rig.engine.disconnect(DEVICE, Reason.REVOKED, sends_will=sends_will) == 0


@pytest.mark.parametrize("is_connected", [True, False])
async def test_forget(rig: EngineRig, *, is_connected: bool) -> None:
    """Nothing is left of an owner, here and in the file; the others' stays."""
    sink, session = rig.join(DEVICE, "x")
    rig.join(OTHER, "x")
    for owner in (DEVICE, OTHER):
        rig.retain(f"r/{owner}", owner)
    if not is_connected:
        sink.close(Reason.CONNECTION_LOST)
        rig.core.router.publish(message("x", qos=1))
    await rig.engine.forget(DEVICE)
    assert (sink.closed == [Reason.DELETED]) is is_connected
    assert session.is_over
    assert await rig.engine.owners() == {OTHER}
    store = rig.core._store
    done = asyncio.get_running_loop().create_future()
    store.after_commit(done.set_result)
    assert await done
    assert [stored.client_id for stored in store.load().sessions] == [OTHER]
    assert [kept.owner for kept in store.load().retained] == [OTHER]


async def test_stop_ends_taps(tmp_path: Path) -> None:
    """Whoever listens isn't left waiting when the engine stops."""
    engine = new_engine(tmp_path)
    await engine.start()

    async def listen() -> list[str]:
        return [tapped.topic async for tapped in engine.tap(["#"])]

    listening = asyncio.ensure_future(listen())
    await asyncio.sleep(0)
    await engine.stop()
    async with asyncio.timeout(5):
        assert await listening == []
