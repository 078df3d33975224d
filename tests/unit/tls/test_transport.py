"""TLS over a plain transport: what a client may cost, and that everything arrives in its order."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from typing import TYPE_CHECKING

import pytest

from fleetkey import turns
from fleetkey.registry import RefusalReason
from fleetkey.tls import TlsConnections, connections
from fleetkey.tls.connections import (
    DECRYPTS_PER_TURN,
    HANDSHAKES_PER_TURN,
    MIN_CHARGED_BYTES,
    READ_BYTES,
    RECORD_SECONDS,
)
from fleetkey.tls.stream import MAX_EMPTY_RECORDS, RECORDS_AT_ONCE
from fleetkey.tls.transport import READ_AHEAD_BYTES
from tests.support.certificates import make_certificate
from tests.unit.tls.rig import Client, key_updates, turn

if TYPE_CHECKING:
    from pathlib import Path


KEY_SHARE = b"\x00\x33\x00\x26\x00\x24\x00\x1d"
"""How that extension begins in OpenSSL's ClientHello."""


class Listener:
    """What the connections share, and clients of it."""

    def __init__(self, folder: Path) -> None:
        made = make_certificate(folder)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(made.certificate, made.key)
        self.reached: list[str] = []
        self.refused: list[tuple[RefusalReason, str, str]] = []
        self.shared = TlsConnections(
            context,
            lambda bound, _: self.reached.append(bound),
            lambda *refusal: self.refused.append(refusal),
            handshake_seconds=1e9,
            shutdown_seconds=1e9,
        )
        self.client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client_context.check_hostname, self.client_context.verify_mode = False, ssl.CERT_NONE

    def client(self) -> Client:
        """Return one that is connected."""
        return Client(self.shared, self.client_context)

    async def open(self) -> Client:
        """Return one whose handshake is done."""
        client = self.client()
        await client.shake_hands()
        return client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the certificate is."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture
def listener(folder: Path) -> Listener:
    """A listener of its own for each test."""
    return Listener(folder)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=str)
async def test_both_ways(listener: Listener, version: ssl.TLSVersion) -> None:
    """Data of any length arrives on both sides, whatever pieces it comes in."""
    listener.client_context.maximum_version = version
    client = await listener.open()
    data = bytes(range(256)) * 400
    records = client.encrypt(data)
    for at in range(0, len(records), 1000):
        client.socket.feed(records[at : at + 1000])
        await turn(2)
    await turn(20)
    assert client.above.data == data
    client.transport.write(data)
    came = b""
    while len(came) < len(data):
        came += client.read()
    assert came == data
    assert listener.shared.held_bytes == 0
    assert client.ended_handshakes == 1


async def test_byte_by_byte(listener: Listener) -> None:
    """A handshake, and data, of which one byte comes at a time."""
    client = listener.client()
    for _ in range(4):
        for byte in client.step():
            client.socket.feed(bytes([byte]))
        await turn()
    for byte in client.encrypt(b"hello"):
        client.socket.feed(bytes([byte]))
    assert client.above.data == b"hello"
    assert listener.shared.held_bytes == 0


async def test_hello_is_held_outside_the_library(listener: Listener) -> None:
    """Nothing is made for a client before its ClientHello is there, and what it sent is counted."""
    client = listener.client()
    hello = client.step()
    client.socket.feed(hello[:-1])
    await turn(3)
    assert client.transport.get_extra_info("ssl_object") is None
    assert listener.shared.held_bytes == max(len(hello) - 1, MIN_CHARGED_BYTES)
    client.socket.feed(hello[-1:])
    assert client.transport.get_extra_info("ssl_object") is not None
    assert listener.shared.held_bytes == 0


@pytest.mark.parametrize("is_second", [False, True], ids=["first", "second"])
async def test_long_hello(listener: Listener, *, is_second: bool) -> None:
    """A ClientHello that announces much is refused at once, also the second one of a handshake."""
    client = listener.client()
    if is_second:
        # No key share that the server takes: it asks for another ClientHello.
        listener.shared.context.set_ecdh_curve("secp521r1")
        client.socket.feed(client.step())
        assert client.transport.get_extra_info("ssl_object") is not None
    client.socket.feed(b"\x16\x03\x01\x00\x08\x01\x01\x00\x00abcd")
    assert listener.reached == ["tls_hello_bytes"]
    assert client.socket.has_ended
    assert client.ended_handshakes == 1
    assert listener.shared.held_bytes == 0


async def test_hello_retry(listener: Listener) -> None:
    """A handshake with two ClientHellos is one like others."""
    listener.shared.context.set_ecdh_curve("secp521r1")
    client = await listener.open()
    client.socket.feed(client.encrypt(b"x"))
    assert client.above.data == b"x"


@pytest.mark.parametrize(
    "data", [b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x00"]
)
async def test_other_protocol(listener: Listener, data: bytes) -> None:
    """Who speaks no TLS is told nothing, and not kept."""
    client = listener.client()
    client.socket.feed(data)
    client.transport.eof_received()
    await turn(2)
    assert client.socket.is_closed
    assert client.above.events == []
    assert client.ended_handshakes == 1
    assert not listener.shared.shaking_hands


async def test_handshakes_take_turns(listener: Listener) -> None:
    """However many ClientHellos come in one turn, two are answered in it."""
    clients = [listener.client() for _ in range(11)]
    for client in clients:
        client.socket.feed(client.step())
    for answered in range(HANDSHAKES_PER_TURN, 11, HANDSHAKES_PER_TURN):
        assert sum(bool(client.socket.sent) for client in clients) == answered
        await turn()


async def test_records_take_turns(listener: Listener) -> None:
    """Of many records that come at once, so many are decrypted in a turn."""
    client = await listener.open()
    client.socket.feed(b"".join(client.encrypt(b"%d" % (number % 10)) for number in range(500)))
    assert len(client.above.data) == RECORDS_AT_ONCE
    await turn(2)
    assert len(client.above.data) <= 3 * RECORDS_AT_ONCE
    await turn(10)
    assert client.above.data == b"".join(b"%d" % (number % 10) for number in range(500))


async def test_key_updates(listener: Listener, tmp_path: Path) -> None:
    """A client that does nothing but change its key is closed; a few changes are part of TLS."""
    listener.client_context.keylog_filename = str(tmp_path / "keylog")
    listener.client_context.minimum_version = ssl.TLSVersion.TLSv1_3
    client = await listener.open()
    updates = key_updates(tmp_path / "keylog")
    client.socket.feed(b"".join(itertools.islice(updates, MAX_EMPTY_RECORDS)))
    await turn(2)
    assert not client.transport.is_closing()
    client.socket.feed(next(updates))
    assert client.transport.is_closing()
    assert listener.reached == ["tls_empty_records"]
    assert client.above.closed_for == [("bound_reached", "tls_empty_records")]
    assert listener.refused == []


async def test_key_updates_of_a_long_life(listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is how many there are in a minute."""
    listener.client_context.keylog_filename = str(tmp_path / "keylog")
    listener.client_context.minimum_version = ssl.TLSVersion.TLSv1_3
    client = await listener.open()
    updates = key_updates(tmp_path / "keylog")
    for minute in range(5):
        monkeypatch.setattr("fleetkey.tls.stream.time.monotonic", lambda minute=minute: 1e6 + 61 * minute)
        client.socket.feed(b"".join(itertools.islice(updates, MAX_EMPTY_RECORDS)))
        await turn(2)
    assert not client.transport.is_closing()


async def test_paused(listener: Listener) -> None:
    """While the protocol takes nothing, what comes is held up to a bound, then not read; then it goes on in order."""
    client = await listener.open()
    client.transport.pause_reading()
    assert client.socket.is_reading
    sent = b""
    while client.socket.is_reading:
        piece = bytes([len(sent) % 251]) * 1000
        sent += piece
        client.socket.feed(client.encrypt(piece))
    assert client.above.data == b""
    assert READ_AHEAD_BYTES <= listener.shared.held_bytes <= READ_AHEAD_BYTES + READ_BYTES
    client.transport.resume_reading()
    await turn(20)
    assert client.above.data == sent
    assert client.socket.is_reading
    assert listener.shared.held_bytes == 0


async def test_total_of_what_is_held(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """All connections together hold no more than the bound: nothing is read ahead, then the oldest one is closed."""
    monkeypatch.setattr(connections, "MAX_HELD_BYTES", 10_000)
    clients = [await listener.open() for _ in range(4)]
    for client in clients:
        client.transport.pause_reading()
        if client.socket.is_reading:
            client.socket.feed(client.encrypt(bytes(6_000)))
    assert [client.socket.is_reading for client in clients] == [False] * 4
    assert not any(client.socket.is_closed for client in clients)
    clients[1].transport.resume_reading()
    await turn()
    clients[1].socket.feed(clients[1].encrypt(bytes(6_000))[:-1])
    assert [client.socket.is_closed for client in clients] == [True, False, False, False]
    assert 6_000 <= listener.shared.held_bytes <= 10_000
    assert listener.reached == ["tls_held_bytes"]
    await turn(2)
    assert clients[0].above.events == ["made", "lost"]


async def test_unfinished_records_give_way(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose records become complete isn't closed for those of others that don't; the oldest of those is."""
    monkeypatch.setattr(connections, "MAX_HELD_BYTES", 30_000)
    honest, *stuck = [await listener.open() for _ in range(8)]
    data = bytes(range(256)) * 40
    for client in stuck:
        client.socket.feed(client.encrypt(bytes(5_000))[:-1])
        sent = honest.encrypt(data)
        honest.socket.feed(sent[:9_000])
        assert listener.shared.held_bytes <= 30_000
        honest.socket.feed(sent[9_000:])
    assert honest.above.data == data * len(stuck)
    assert [client.socket.is_closed for client in stuck] == [True] * 3 + [False] * 4
    assert listener.reached == ["tls_held_bytes"] * 3


async def test_dribble_is_no_progress(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who began an unfinished record first gives way, though it was heard from last; even to bytes of its own."""
    monkeypatch.setattr(connections, "MAX_HELD_BYTES", 10_000)
    dribbling, later = await listener.open(), await listener.open()
    record = dribbling.encrypt(bytes(9_000))
    dribbling.socket.feed(record[:4_000])
    later.socket.feed(later.encrypt(bytes(5_000))[:4_900])
    for at in range(4_000, 4_010):
        dribbling.socket.feed(record[at : at + 1])
    assert not dribbling.socket.is_closed
    dribbling.socket.feed(record[4_010:6_000])
    assert (dribbling.socket.is_closed, later.socket.is_closed) == (True, False)
    assert listener.shared.held_bytes == 4_900


async def test_few_bytes_are_charged(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that hold a few bytes each count as more, so only a few have to be closed at once."""
    monkeypatch.setattr(connections, "MAX_HELD_BYTES", 5 * MIN_CHARGED_BYTES)
    clients = [await listener.open() for _ in range(7)]
    for client in clients:
        client.socket.feed(client.encrypt(b"x")[:1])
    assert [client.socket.is_closed for client in clients] == [True] * 2 + [False] * 5
    assert listener.shared.held_bytes == 5 * MIN_CHARGED_BYTES


class Clock:
    """The loop's time, which the test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: self.now)

    async def wait(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        self.now += seconds
        await turn(4)


async def test_record_time(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record must be complete in time, however often some of it comes; each has a time of its own."""
    clock = Clock(monkeypatch)
    slow, busy = await listener.open(), await listener.open()
    record = slow.encrypt(bytes(100))
    slow.socket.feed(record[:10])
    busy.socket.feed(busy.encrypt(b"1") + (second := busy.encrypt(b"2"))[:10])
    for at in range(10, 15):
        await clock.wait(RECORD_SECONDS / 6)
        slow.socket.feed(record[at : at + 1])
    busy.socket.feed(second[10:] + busy.encrypt(b"3")[:10])
    assert not slow.socket.is_closed
    await clock.wait(RECORD_SECONDS / 3)
    assert (slow.socket.is_closed, busy.socket.is_closed) == (True, False)
    await clock.wait(RECORD_SECONDS)
    assert busy.socket.is_closed
    assert busy.above.data == b"12"
    assert listener.reached == ["tls_record_seconds"] * 2
    assert listener.shared.held_bytes == 0
    assert listener.shared._timer is None


async def test_late_records_take_turns(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many records are late at once, a few connections are closed per turn."""
    monkeypatch.setattr(connections, "MAX_CHECKED_PER_TURN", 2)
    clock = Clock(monkeypatch)
    clients = [await listener.open() for _ in range(5)]
    for client in clients:
        client.socket.feed(client.encrypt(b"x")[:-1])
    clock.now += RECORD_SECONDS
    closed = [0]
    while closed[-1] < 5 and len(closed) < 20:
        await turn()
        closed.append(sum(client.socket.is_closed for client in clients))
    assert set(closed) == {0, 2, 4, 5}


async def test_record_time_while_paused(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record has no time while the protocol takes nothing, and all of it again after that."""
    clock = Clock(monkeypatch)
    client = await listener.open()
    client.transport.pause_reading()
    record = client.encrypt(bytes(100))
    client.socket.feed(record[:-1])
    for _ in range(4):
        await clock.wait(RECORD_SECONDS)
    client.transport.resume_reading()
    await clock.wait(RECORD_SECONDS / 2)
    assert not client.socket.is_closed
    await clock.wait(RECORD_SECONDS)
    assert client.socket.is_closed


async def test_end(listener: Listener) -> None:
    """The end of TLS reaches the protocol behind all data; its answer is sent before the socket is closed."""
    client = await listener.open()
    client.above.eof_received = lambda: client.transport.write(b"last")  # type: ignore[method-assign]
    client.transport.pause_reading()
    client.socket.feed(client.encrypt(b"data") + client.end())
    client.transport.eof_received()
    await turn(3)
    assert client.above.data == b""
    assert not client.socket.is_closed
    client.transport.resume_reading()
    await turn(3)
    assert client.above.data == b"data"
    assert client.socket.is_closed
    assert client.above.events == ["made", "lost"]
    assert client.read() == b"last"


async def test_lost(listener: Listener) -> None:
    """What came before a connection was lost reaches the protocol, though it takes nothing; a piece at a time."""
    client = await listener.open()
    client.transport.pause_reading()
    client.socket.feed(b"".join(client.encrypt(b"x") for _ in range(500)))
    client.transport.connection_lost(ConnectionResetError())
    await turn()
    assert len(client.above.data) <= RECORDS_AT_ONCE
    assert client.above.events == ["made"]
    await turn(20)
    assert len(client.above.data) == 500
    assert client.above.events == ["made", "lost"]


@pytest.mark.parametrize("ends", ["close", "abort"])
async def test_closed_after_it_was_lost(listener: Listener, ends: str) -> None:
    """A protocol that gives up on what came before is told of the end all the same, once."""
    client = await listener.open()
    client.transport.pause_reading()
    client.socket.feed(b"".join(client.encrypt(b"x") for _ in range(500)))
    client.transport.connection_lost(None)
    getattr(client.transport, ends)()
    await turn(20)
    assert client.above.data == b""
    assert client.above.events == ["made", "lost"]


async def test_close(listener: Listener) -> None:
    """What is written before a close arrives, as does the end of TLS; what comes until the client's end is dropped."""
    client = await listener.open()
    client.transport.write(b"last")
    client.transport.close()
    assert client.socket.has_ended
    assert not client.socket.is_closed
    client.socket.feed(client.encrypt(bytes(100_000)))
    assert client.above.data == b""
    assert client.read() == b"last"
    assert client.read() == b""
    client.transport.eof_received()
    await turn(2)
    assert client.socket.is_closed
    assert client.above.events == ["made", "lost"]


async def test_shutdown_time(listener: Listener) -> None:
    """A client that doesn't end its side is cut off after a time."""
    listener.shared.shutdown_seconds = 0
    client = await listener.open()
    client.transport.close()
    await asyncio.sleep(0.01)
    assert client.socket.is_closed


async def test_handshake_time(listener: Listener) -> None:
    """A client that doesn't finish its handshake is cut off after a time."""
    listener.shared.handshake_seconds = 0
    client = listener.client()
    client.socket.feed(client.step())
    await asyncio.sleep(0.01)
    assert client.socket.is_closed
    assert client.ended_handshakes == 1
    assert listener.refused == [(RefusalReason.TLS_TIMEOUT, "192.0.2.1", "")]


async def test_refused_for_a_bound(listener: Listener) -> None:
    """A bound that is reached during a handshake is told as such, once."""
    client = listener.client()
    client.socket.feed(b"\x16\x03\x01\x00\x04\x01\x00\xff\xff")
    client.transport.eof_received()
    await turn(2)
    assert listener.refused == [(RefusalReason.BOUND_REACHED, "192.0.2.1", "tls_hello_bytes")]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("has_turn", [True, False], ids=["in_turn", "before_its_turn"])
async def test_untrusted(listener: Listener, version: ssl.TLSVersion, *, has_turn: bool) -> None:
    """A client that doesn't trust the certificate says so in its last record, even if that hasn't had its turn."""
    listener.client_context.maximum_version = version
    listener.client_context.verify_mode = ssl.CERT_REQUIRED
    client = listener.client()
    client.socket.feed(client.step())
    await turn()
    with pytest.raises(ssl.SSLCertVerificationError):
        client.step()
    if not has_turn:
        # Others take all of this turn.
        for _ in range(HANDSHAKES_PER_TURN):
            listener.shared.handshake_turns.do(lambda: None)
    client.socket.feed(client.sent())
    client.transport.eof_received()
    await turn(3)
    assert [(why, address) for why, address, _ in listener.refused] == [
        (RefusalReason.CERTIFICATE_REFUSED, "192.0.2.1")
    ]


async def test_left_during_the_handshake(listener: Listener) -> None:
    """A client that leaves once it has seen the certificate has a reason of its own; one that says nothing has none."""
    client, silent = listener.client(), listener.client()
    client.socket.feed(client.step())
    await turn()
    for each in (client, silent):
        each.transport.eof_received()
    await turn(2)
    assert listener.refused == [(RefusalReason.TLS_FAILED, "192.0.2.1", "client_left")]


async def test_garbage(listener: Listener) -> None:
    """What can't be decrypted ends the connection, after what came before it."""
    client = await listener.open()
    client.socket.feed(client.encrypt(b"good") + b"\x17\x03\x03\x00\x20" + bytes(32))
    await turn(2)
    assert client.above.data == b"good"
    assert client.transport.is_closing()


async def test_finite_field(listener: Listener) -> None:
    """A key share in a finite field is refused before the SSL object computes anything with it."""
    listener.client_context.minimum_version = ssl.TLSVersion.TLSv1_3
    client = listener.client()
    hello = client.step()
    assert hello.count(KEY_SHARE) == 1
    client.socket.feed(hello.replace(KEY_SHARE, KEY_SHARE[:-2] + b"\x01\x04"))
    assert listener.reached == ["tls_key_share"]
    assert client.socket.has_ended
    assert not client.socket.sent


async def test_many_connections_take_turns(listener: Listener) -> None:
    """However many connections have data in one turn, so many are decrypted in it, and all in the end."""
    clients = [await listener.open() for _ in range(5 * DECRYPTS_PER_TURN)]
    await turn(2)
    for client in clients:
        client.socket.feed(client.encrypt(b"x"))
    counts = [sum(bool(client.above.data) for client in clients)]
    while counts[-1] < len(clients):
        await turn()
        counts.append(sum(bool(client.above.data) for client in clients))
    assert counts == [DECRYPTS_PER_TURN * number for number in range(1, 6)]
    assert all(client.socket.is_reading for client in clients)


@pytest.mark.parametrize("is_open", [False, True], ids=["hello", "record"])
async def test_trickle(listener: Listener, monkeypatch: pytest.MonkeyPatch, *, is_open: bool) -> None:
    """A client that sends a byte at a time isn't read from for a while after each; a whole record is read at once."""
    monkeypatch.setattr(turns, "REST_SECONDS", 0.001)
    client = await listener.open() if is_open else listener.client()
    data = client.encrypt(b"data") if is_open else client.step()
    assert client.socket.is_reading
    client.socket.feed(data[:10])
    assert not client.socket.is_reading
    async with asyncio.timeout(10):
        while not client.socket.is_reading:
            await turn()
    client.socket.feed(data[10:])
    assert client.socket.is_reading
    assert client.above.data == (b"data" if is_open else b"")
