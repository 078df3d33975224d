"""Of a CONNECT of another version, the client id and the user name are read, if they can be."""

from __future__ import annotations

import pytest

from fleetkey.broker.codec import UnsupportedProtocolError, read_connect
from tests.support.packets import Will, connect

PROPERTY = b"\x05\x11\x00\x00\x00\x0a"
"""A session expiry interval, after the length of the properties."""


def _read(packet: bytes) -> UnsupportedProtocolError:
    start = 2 if packet[1] < 0x80 else 3
    with pytest.raises(UnsupportedProtocolError) as caught:
        read_connect(packet[0], packet, start, len(packet))
    return caught.value


@pytest.mark.parametrize(("protocol", "level"), [("MQIsdp", 3), ("MQTT", 6), ("MQTT", 3), ("MQTT", 99)])
def test_claims(protocol: str, level: int) -> None:
    """Both are where that version has them; later versions are read as 5."""
    packet = connect("c", "u", "p", protocol=protocol, level=level)
    if level > 5:
        at = packet.index(b"\x00\x01c")
        packet = bytes([packet[0], packet[1] + 1]) + packet[2:at] + b"\0" + packet[at:]
    error = _read(packet)
    assert (error.level, error.client_id, error.username) == (level, "c", "u")


def test_claims_after_properties_and_will() -> None:
    """Properties and the will are skipped."""
    packet = connect("c", "u", "p", level=5).replace(b"MQTT\5", b"MQTT\6")
    at = packet.index(b"\0\x00\x01c")
    packet = bytes([packet[0], packet[1] + 5]) + packet[2:at] + PROPERTY + packet[at + 1 :]
    assert (_read(packet).client_id, _read(packet).username) == ("c", "u")
    older = connect("c", "u", "p", protocol="MQIsdp", level=3, will=Will("t", b"x"))
    assert (_read(older).client_id, _read(older).username) == ("c", "u")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_malformed(size: int) -> None:
    """Whatever is wrong behind the version changes nothing about the answer."""
    whole = connect("c", "u", "p", level=5).replace(b"MQTT\5", b"MQTT\6")
    body = whole[2:9] + whole[9 : 9 + size]
    error = _read(bytes([whole[0], len(body)]) + body)
    assert error.level == 6
    assert error.username is None


def test_length_of_properties() -> None:
    """It has at most four bytes, however many follow that look like more of it."""
    whole = connect("c", level=5).replace(b"MQTT\5", b"MQTT\6")
    head, rest = whole[2:12], whole[13:]
    for length, client_id in ((b"\x80\x80\x80\x00", None), (b"\x80\x80\x80\x80\x00", None)):
        body = head + length + rest
        assert _read(bytes([0x10, len(body)]) + body).client_id == client_id
