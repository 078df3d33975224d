"""Whoever is refused leaves a record, at whatever layer it ended: why, what was claimed, and whose it is."""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
import pytest

from fleetkey.registry import DeviceState, RefusalFilter, RefusalReason, RefusalRecord
from tests.support.certificates import Certificate, make_certificate
from tests.support.fleet import Credentials, Fleet, running
from tests.support.packets import Kind, Will, connect, connect_fields, packet
from tests.support.properties import Name, prop
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.streams import TcpStream, WebSocketStream
from tests.support.waiting import eventually
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

UNKNOWN = "f" * 32
NO_SECRET = "0" * 64
HTTP_REQUEST = b"GET /register HTTP/1.1\r\nHost: x\r\n\r\n"
NO_UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the record of a refusal has."""

    stage: str
    reason: RefusalReason
    listener: str = "mqtt"
    device_id: str | None = None
    is_proven: bool = False
    claims: dict[str, str] = field(default_factory=dict)
    detail: str | None = None
    count: int = 1


def _client_hello() -> bytes:
    """Return the first bytes of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def _post(fleet: Fleet, source: str, **request: Any) -> int:
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(transport=transport, timeout=30) as client:
        return client.post(f"{fleet.server.url}/register", **request).status_code


def _talk(port: int, source: str, data: bytes) -> bytes:
    """Send bytes, and return what comes back until the server closes."""
    with TcpStream(port, data, source=source) as stream:
        answer = b""
        with suppress(ConnectionError):
            while piece := stream.receive():
                answer += piece
        return answer


def _log_in(fleet: Fleet, source: str, data: bytes) -> bytes:
    return _talk(fleet.server.mqtt_port, source, data)


def _entered(fleet: Fleet, source: str, who: Credentials) -> Wire:
    wire = Wire(TcpStream(fleet.server.mqtt_port, source=source))
    wire.enter(who)
    return wire


def unlisted_serial(fleet: Fleet, source: str) -> Expected:
    """It isn't on the allow-list."""
    for _ in range(3):
        assert _post(fleet, source, json={"serial": "SN-unlisted"}) == 400
    return Expected(
        stage="register",
        reason=RefusalReason.NOT_LISTED,
        listener="http",
        claims={"serial": "SN-unlisted"},
        count=3,
    )


def malformed_serial(fleet: Fleet, source: str) -> Expected:
    """It has a character that can't be printed; it isn't kept."""
    assert _post(fleet, source, json={"serial": "SN\n1"}) == 400
    return Expected(stage="register", reason=RefusalReason.MALFORMED_SERIAL, listener="http")


def malformed_body(fleet: Fleet, source: str) -> Expected:
    """It isn't JSON."""
    headers = {"Content-Type": "application/json"}
    assert _post(fleet, source, content=b"serial", headers=headers) == 400
    return Expected(stage="register", reason=RefusalReason.MALFORMED_BODY, listener="http")


def wrong_content_type(fleet: Fleet, source: str) -> Expected:
    """It says that it isn't JSON."""
    assert _post(fleet, source, content=b"{}", headers={"Content-Type": "text/plain"}) == 415
    return Expected(stage="register", reason=RefusalReason.WRONG_CONTENT_TYPE, listener="http")


def disabled_device_registers(fleet: Fleet, source: str) -> Expected:
    """The device is known by its serial."""
    device = fleet.device()
    with fleet.store() as store:
        store.set_device_state(device.device_id, DeviceState.DISABLED, actor="test")
    assert _post(fleet, source, json={"serial": device.serial}) == 400
    return Expected(
        stage="register",
        reason=RefusalReason.DEVICE_DISABLED,
        listener="http",
        device_id=device.device_id,
        is_proven=True,
        claims={"serial": device.serial},
    )


def unknown_key(fleet: Fleet, source: str) -> Expected:
    """Nobody has it."""
    assert _log_in(fleet, source, connect("x", UNKNOWN, NO_SECRET)) == b"\x20\2\0\5"
    return Expected(stage="connect", reason=RefusalReason.UNKNOWN_KEY, claims={"key": UNKNOWN, "client_id": "x"})


def wrong_secret(fleet: Fleet, source: str) -> Expected:
    """The key is a device's, but nothing is proven."""
    device = fleet.device()
    assert _log_in(fleet, source, connect(device.client_id, device.key, NO_SECRET)) == b"\x20\2\0\5"
    return Expected(
        stage="connect",
        reason=RefusalReason.WRONG_SECRET,
        device_id=device.device_id,
        claims={"key": device.key, "client_id": device.client_id},
    )


def swapped_key_and_secret(fleet: Fleet, source: str) -> Expected:
    """The secret is in the place of the user name and of the client id, and isn't kept from there."""
    device = fleet.device()
    assert _log_in(fleet, source, connect(device.secret, device.secret, device.key)) == b"\x20\2\0\5"
    return Expected(
        stage="connect", reason=RefusalReason.MALFORMED_CREDENTIALS, claims={"client_id": "[64 hex digits]"}
    )


def wrong_client_id(fleet: Fleet, source: str) -> Expected:
    """It has the right secret, so the record is certainly about the device."""
    device = fleet.device()
    assert _log_in(fleet, source, connect("other\x07", device.key, device.secret)) == b"\x20\2\0\5"
    return Expected(
        stage="connect",
        reason=RefusalReason.WRONG_CLIENT_ID,
        device_id=device.device_id,
        is_proven=True,
        claims={"key": device.key, "client_id": "other\\x07"},
    )


def foreign_will(fleet: Fleet, source: str) -> Expected:
    """The topic of the will is in the record."""
    device, will = fleet.device(), Will("devices/other/x", b"gone")
    assert _log_in(fleet, source, connect(device.client_id, device.key, device.secret, will=will)) == b"\x20\2\0\5"
    return Expected(
        stage="connect",
        reason=RefusalReason.FOREIGN_WILL,
        device_id=device.device_id,
        is_proven=True,
        claims={"key": device.key, "client_id": device.client_id, "topic": "devices/other/x"},
    )


def authentication_method(fleet: Fleet, source: str) -> Expected:
    """It names its key and client id, by which the device is found."""
    device, method = fleet.device(), prop(Name.AUTHENTICATION_METHOD, "SCRAM-SHA-256")
    data = connect(device.client_id, device.key, device.secret, level=5, properties=method)
    assert _log_in(fleet, source, data)[2:4] == b"\0\x8c"
    return Expected(
        stage="connect",
        reason=RefusalReason.AUTHENTICATION_METHOD,
        device_id=device.device_id,
        claims={"key": device.key, "client_id": device.client_id},
    )


def mqtt_3_1(fleet: Fleet, source: str) -> Expected:
    """The older version."""
    device = fleet.device()
    data = connect(device.client_id, device.key, device.secret, protocol="MQIsdp", level=3)
    assert _log_in(fleet, source, data) == b"\x20\2\0\1"
    return Expected(
        stage="connect",
        reason=RefusalReason.PROTOCOL_3_1,
        device_id=device.device_id,
        claims={"key": device.key, "client_id": device.client_id},
    )


def empty_client_id(fleet: Fleet, source: str) -> Expected:
    """An application may have none only with a clean session."""
    application = fleet.application()
    assert _log_in(fleet, source, connect("", application.key, application.secret, clean=False)) == b"\x20\2\0\2"
    return Expected(
        stage="connect", reason=RefusalReason.CLIENT_ID_MISSING, is_proven=True, claims={"key": application.key}
    )


def long_client_id(fleet: Fleet, source: str) -> Expected:
    """It is cut."""
    assert _log_in(fleet, source, connect("x" * 300, UNKNOWN, NO_SECRET)) == b"\x20\2\0\2"
    return Expected(
        stage="connect",
        reason=RefusalReason.CLIENT_ID_TOO_LONG,
        claims={"key": UNKNOWN, "client_id": "x" * 127 + "…"},
    )


def session_of_another(fleet: Fleet, source: str) -> Expected:
    """Another key has a session under its client id."""
    one, other = fleet.application(), fleet.application()
    with Wire.to(fleet).enter(one):
        assert _log_in(fleet, source, connect(one.client_id, other.key, other.secret)) == b"\x20\2\0\2"
    return Expected(
        stage="connect",
        reason=RefusalReason.SESSION_OF_ANOTHER,
        is_proven=True,
        claims={"key": other.key, "client_id": one.client_id},
    )


def malformed_connect(fleet: Fleet, source: str) -> Expected:
    """A reserved flag is set."""
    _log_in(fleet, source, connect_fields(1, "x"))
    return Expected(stage="connect", reason=RefusalReason.MALFORMED, detail="reserved or contradictory CONNECT flags")


def long_connect(fleet: Fleet, source: str) -> Expected:
    """It announces more than a CONNECT may have."""
    _log_in(fleet, source, b"\x10\xff\xff\xff\x7f")
    return Expected(stage="connect", reason=RefusalReason.BOUND_REACHED, detail="max_connect_bytes")


def no_connect(fleet: Fleet, source: str) -> Expected:
    """It sends nothing until the time is over."""
    _log_in(fleet, source, b"")
    return Expected(stage="connect", reason=RefusalReason.CONNECT_TIMEOUT)


def tls_on_plain_port(fleet: Fleet, source: str) -> Expected:
    """A ClientHello where MQTT is expected."""
    _log_in(fleet, source, _client_hello())
    return Expected(stage="connect", reason=RefusalReason.TLS_ON_PLAIN_PORT)


def http_on_mqtt_port(fleet: Fleet, source: str) -> Expected:
    """A request where MQTT is expected."""
    _log_in(fleet, source, HTTP_REQUEST)
    return Expected(stage="connect", reason=RefusalReason.HTTP_ON_MQTT_PORT)


def tls_on_http_port(fleet: Fleet, source: str) -> Expected:
    """`https://` where there is no TLS."""
    _talk(fleet.server.http_port, source, _client_hello())
    return Expected(stage="connect", reason=RefusalReason.TLS_ON_PLAIN_PORT, listener="http")


def mqtt_on_http_port(fleet: Fleet, source: str) -> Expected:
    """The ports are mixed up."""
    _talk(fleet.server.http_port, source, connect("x"))
    return Expected(stage="connect", reason=RefusalReason.MQTT_ON_HTTP_PORT, listener="http")


def mqtt_on_websocket_port(fleet: Fleet, source: str) -> Expected:
    """MQTT over TCP where a WebSocket is expected."""
    _talk(fleet.server.ws_port, source, connect("x"))
    return Expected(stage="connect", reason=RefusalReason.MQTT_ON_WEBSOCKET_PORT, listener="ws")


def upgrade_refused(fleet: Fleet, source: str) -> Expected:
    """A request that isn't an upgrade."""
    assert _talk(fleet.server.ws_port, source, NO_UPGRADE).startswith(b"HTTP/1.1 4")
    return Expected(stage="connect", reason=RefusalReason.UPGRADE_REFUSED, listener="ws")


def text_on_websocket(fleet: Fleet, source: str) -> Expected:
    """A frame that isn't binary."""
    with WebSocketStream(TcpStream(fleet.server.ws_port, source=source)) as stream:
        stream.send_frame(0x81, b"hello")
        with suppress(ConnectionError):
            while stream.receive():
                pass
    return Expected(stage="connect", reason=RefusalReason.MALFORMED, listener="ws", detail="websocket: not binary")


def foreign_subscriptions(fleet: Fleet, source: str) -> Expected:
    """Each is counted, and the last filter is known."""
    device = fleet.device()
    with _entered(fleet, source, device) as wire:
        wire.subscribe("#", "devices/other/#")
        wire.subscribe("devices/+/x")
    return Expected(
        stage="subscribe",
        reason=RefusalReason.FOREIGN_FILTER,
        device_id=device.device_id,
        is_proven=True,
        claims={"key": device.key, "client_id": device.client_id, "topic": "devices/+/x"},
        count=3,
    )


def foreign_publishes(fleet: Fleet, source: str) -> Expected:
    """Each is counted, with and without a QoS, and no payload is kept."""
    device = fleet.device()
    with _entered(fleet, source, device) as wire:
        for qos in (0, 1, 0):
            wire.publish("devices/other/x", b"PAYLOAD", qos=qos)
        wire.settle()
    return Expected(
        stage="publish",
        reason=RefusalReason.FOREIGN_TOPIC,
        device_id=device.device_id,
        is_proven=True,
        claims={"key": device.key, "client_id": device.client_id, "topic": "devices/other/x"},
        count=3,
    )


def too_many_subscriptions(fleet: Fleet, source: str) -> Expected:
    """The record says which bound was reached."""
    device = fleet.device()
    with _entered(fleet, source, device) as wire:
        wire.subscribe(*(device.topic(f"{number}") for number in range(101)))
    return Expected(
        stage="subscribe",
        reason=RefusalReason.BOUND_REACHED,
        device_id=device.device_id,
        is_proven=True,
        claims={"key": device.key, "client_id": device.client_id, "topic": device.topic("100")},
        detail="max_subscriptions",
    )


def malformed_packet(fleet: Fleet, source: str) -> Expected:
    """An accepted connection is closed for what its client sent."""
    device = fleet.device()
    with _entered(fleet, source, device) as wire:
        wire.send(packet(Kind.PUBLISH, 0, b"\0\x08devices/"[:4]))
        assert wire.is_closed_by_broker()
    return Expected(
        stage="connection",
        reason=RefusalReason.MALFORMED,
        device_id=device.device_id,
        is_proven=True,
        claims={"key": device.key, "client_id": device.client_id},
    )


def long_packet(fleet: Fleet, source: str) -> Expected:
    """An accepted connection is closed at a bound."""
    device = fleet.device()
    with _entered(fleet, source, device) as wire:
        wire.send(b"\x30\xff\xff\xff\x7f")
        assert wire.is_closed_by_broker()
    return Expected(
        stage="connection",
        reason=RefusalReason.BOUND_REACHED,
        device_id=device.device_id,
        is_proven=True,
        claims={"key": device.key, "client_id": device.client_id},
        detail="max_packet_bytes",
    )


PLAIN: list[Callable[[Fleet, str], Expected]] = [
    unlisted_serial,
    malformed_serial,
    malformed_body,
    wrong_content_type,
    disabled_device_registers,
    unknown_key,
    wrong_secret,
    swapped_key_and_secret,
    wrong_client_id,
    foreign_will,
    authentication_method,
    mqtt_3_1,
    empty_client_id,
    long_client_id,
    session_of_another,
    malformed_connect,
    long_connect,
    no_connect,
    tls_on_plain_port,
    http_on_mqtt_port,
    tls_on_http_port,
    mqtt_on_http_port,
    mqtt_on_websocket_port,
    upgrade_refused,
    text_on_websocket,
    foreign_subscriptions,
    foreign_publishes,
    too_many_subscriptions,
    malformed_packet,
    long_packet,
]


def _handshake(port: int, source: str, context: ssl.SSLContext) -> None:
    with TcpStream(port, source=source) as stream, suppress(ssl.SSLError, OSError):
        context.wrap_socket(stream.raw, server_hostname="127.0.0.1")


def untrusted_certificate(fleet: Fleet, source: str) -> Expected:
    """The client doesn't know the authority."""
    _handshake(fleet.server.tls_port, source, ssl.create_default_context())
    return Expected(stage="connect", reason=RefusalReason.CERTIFICATE_REFUSED, listener="mqtts")


def untrusted_certificate_of_websocket(fleet: Fleet, source: str) -> Expected:
    """The same for a WebSocket."""
    _handshake(fleet.server.ws_port, source, ssl.create_default_context())
    return Expected(stage="connect", reason=RefusalReason.CERTIFICATE_REFUSED, listener="wss")


def untrusted_certificate_of_registration(fleet: Fleet, source: str) -> Expected:
    """The same for registration."""
    _handshake(fleet.server.http_port, source, ssl.create_default_context())
    return Expected(stage="connect", reason=RefusalReason.CERTIFICATE_REFUSED, listener="https")


def no_common_cipher(fleet: Fleet, source: str) -> Expected:
    """The client offers only what the server doesn't accept."""
    context = ssl.create_default_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    _handshake(fleet.server.tls_port, source, context)
    return Expected(stage="connect", reason=RefusalReason.TLS_FAILED, listener="mqtts", detail="no_shared_cipher")


def mqtt_on_tls_port(fleet: Fleet, source: str) -> Expected:
    """MQTT in clear where TLS is expected."""
    _talk(fleet.server.tls_port, source, connect("x"))
    return Expected(stage="connect", reason=RefusalReason.MQTT_ON_TLS_PORT, listener="mqtts")


def http_on_tls_port(fleet: Fleet, source: str) -> Expected:
    """`http://` where TLS is expected."""
    _talk(fleet.server.http_port, source, HTTP_REQUEST)
    return Expected(stage="connect", reason=RefusalReason.HTTP_ON_TLS_PORT, listener="https")


def not_tls(fleet: Fleet, source: str) -> Expected:
    """Something else where TLS is expected."""
    _talk(fleet.server.tls_port, source, b"\x00" * 20)
    return Expected(stage="connect", reason=RefusalReason.NOT_TLS, listener="mqtts")


def silent_on_tls_port(fleet: Fleet, source: str) -> Expected:
    """Nothing comes until the time is over."""
    _talk(fleet.server.tls_port, source, b"")
    return Expected(stage="connect", reason=RefusalReason.TLS_TIMEOUT, listener="mqtts")


SECURE: list[Callable[[Fleet, str], Expected]] = [
    untrusted_certificate,
    untrusted_certificate_of_websocket,
    untrusted_certificate_of_registration,
    no_common_cipher,
    mqtt_on_tls_port,
    http_on_tls_port,
    not_tls,
    silent_on_tls_port,
]

Stories: TypeAlias = dict[str, tuple[Expected, list[RefusalRecord]]]


def _told(fleet: Fleet, cases: list[Callable[[Fleet, str], Expected]]) -> Stories:
    """Have each refused from an address of its own, and return what is expected and what was recorded."""
    sources = {case.__name__: f"127.1.0.{number}" for number, case in enumerate(cases, 1)}
    expected = {case.__name__: case(fleet, sources[case.__name__]) for case in cases}
    with fleet.store() as store:

        def records(name: str) -> list[RefusalRecord]:
            return list(store.find_refusals(RefusalFilter(address=sources[name])).records)

        eventually(lambda: all(records(name) for name in sources), seconds=5)
        return {name: (expected[name], records(name)) for name in sources}


@pytest.fixture(scope="module")
def plain(fleet: Fleet) -> Stories:
    """Have everyone refused by a server without TLS."""
    return _told(fleet, PLAIN)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make the server's certificate."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Stories]:
    """Have everyone refused by a server with TLS everywhere."""
    pair = f"tls_cert = '{certificate.certificate}'\ntls_key = '{certificate.key}'\n"
    listeners = "tls_bind = '127.0.0.1:0'\nws_bind = '127.0.0.1:0'\nconnect_timeout_seconds = 2\n"
    settings = f"[http]\n{pair}[mqtt]\n{listeners}{pair}"
    with ServerProcess(tmp_path_factory.mktemp("server"), environment=NO_LIMITS, settings=settings) as server:
        yield _told(Fleet(server), SECURE)


def _check(expected: Expected, records: list[RefusalRecord]) -> None:
    (record,) = records
    claims = {name: getattr(record, name) for name in ("serial", "key", "client_id", "topic")}
    assert (record.stage, record.reason, record.listener) == (expected.stage, expected.reason, expected.listener)
    assert {name: claim for name, claim in claims.items() if claim is not None} == expected.claims
    assert (record.device_id, record.is_proven) == (expected.device_id, expected.is_proven)
    assert record.count == expected.count
    assert expected.detail in {None, record.detail}
    assert record.first_at <= record.last_at


@pytest.mark.parametrize("name", [case.__name__ for case in PLAIN])
def test_refused(name: str, plain: Stories) -> None:
    """One record tells it, and no other."""
    _check(*plain[name])


@pytest.mark.parametrize("name", [case.__name__ for case in SECURE])
def test_refused_with_tls(name: str, secure: Stories) -> None:
    """The same where there is TLS."""
    _check(*secure[name])


def test_no_payload(plain: Stories) -> None:
    """No payload is in any record; that no secret is, is checked of every registry at the end of the run."""
    assert all("PAYLOAD" not in repr(record) for _, records in plain.values() for record in records)


def test_flood_of_invented_identities(tmp_path: Path) -> None:
    """However many keys, serials and client ids strangers invent, the records of devices and keys stay."""
    bounds = {"FLEETKEY_STORE__MAX_STRANGER_REFUSALS": "20", "FLEETKEY_STORE__MAX_REFUSALS": "1000"}
    with running(tmp_path, environment=bounds) as fleet:
        device, application = fleet.device(), fleet.application()
        with fleet.store() as store:
            store.set_device_state(device.device_id, DeviceState.DISABLED, actor="test")
        _log_in(fleet, "127.1.2.1", connect("x", application.key, NO_SECRET))
        _log_in(fleet, "127.1.2.1", connect(device.client_id, device.key, device.secret))
        assert _post(fleet, "127.1.2.1", json={"serial": device.serial}) == 400
        for number in range(40):
            source = f"127.1.3.{number + 1}"
            _log_in(fleet, source, connect(f"c{number}", f"{number:032x}", NO_SECRET))
            _log_in(fleet, source, b"\x20\x02")
            _log_in(fleet, source, connect(f"other-{number}", level=5))
            assert _post(fleet, source, json={"serial": f"SN-invented-{number}"}) == 400
        with fleet.store() as store:

            def records() -> list[RefusalRecord]:
                return list(store.find_refusals(RefusalFilter(), limit=1_000).records)

            assert eventually(lambda: any(record.serial == "SN-invented-39" for record in records()))
            known = {(record.device_id or record.key, record.reason) for record in records() if record.is_known}
            assert known == {
                (device.device_id, RefusalReason.DEVICE_NOT_ACTIVE),
                (device.device_id, RefusalReason.DEVICE_DISABLED),
                (application.key, RefusalReason.WRONG_SECRET),
            }
            assert sum(not record.is_known for record in records()) == 20


def test_kept_after_kill(fleet: Fleet, plain: Stories) -> None:
    """A server that is killed and started again adds to the records that were there."""
    fleet.server.kill9()
    fleet.server.start()
    _expected, (before,) = plain["unlisted_serial"]
    unlisted_serial(fleet, before.address)
    with fleet.store() as store:

        def count() -> int:
            (record,) = store.find_refusals(RefusalFilter(serial="SN-unlisted")).records
            return record.count

        assert eventually(lambda: count() == before.count + 3)


def test_kept_after_the_end(fleet: Fleet, plain: Stories) -> None:
    """A server that is told to end records what waits."""
    assert plain
    _log_in(fleet, "127.1.1.2", connect("at the end", level=5))
    fleet.server.restart()
    with fleet.store() as store:
        assert len(store.find_refusals(RefusalFilter(address="127.1.1.2")).records) == 1


def test_metrics(fleet: Fleet, plain: Stories) -> None:
    """Every refusal is counted by stage and reason, with the same words."""
    assert plain
    _log_in(fleet, "127.1.1.1", connect("x", protocol="MQIsdp", level=3))
    metrics = httpx.get(f"{fleet.server.url}/metrics", timeout=30).text
    assert 'fleetkey_refusals_total{reason="protocol_3_1",stage="connect"}' in metrics
