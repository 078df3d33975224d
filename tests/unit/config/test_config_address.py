"""Addresses to listen on."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleetkey.config import Address, AddressError, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port", "formatted"),
    [
        pytest.param("127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080", id="ipv4"),
        pytest.param("localhost:0", "localhost", 0, "localhost:0", id="system_picks"),
        pytest.param("fleet.example:65535", "fleet.example", 65_535, "fleet.example:65535", id="name"),
        pytest.param("[::1]:1883", "::1", 1883, "[::1]:1883", id="ipv6"),
        pytest.param("[fe80::1%lo]:1883", "fe80::1%lo", 1883, "[fe80::1%lo]:1883", id="ipv6_zone"),
        pytest.param(":1883", "0.0.0.0", 1883, "0.0.0.0:1883", id="every_interface"),  # noqa: S104 - compared
        pytest.param(" 127.0.0.1:80 ", "127.0.0.1", 80, "127.0.0.1:80", id="space_around"),
    ],
)
def test_parse_address_good(text: str, host: str, port: int, formatted: str) -> None:
    """An address is read, and written in the form that can be read again."""
    address = parse_address(text)
    assert address == Address(host=host, port=port)
    assert str(address) == formatted
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("localhost", id="no_port"),
        pytest.param("localhost:", id="empty_port"),
        pytest.param("8080", id="only_port"),
        pytest.param("localhost:http", id="port_name"),
        pytest.param("localhost:-1", id="negative_port"),
        pytest.param("localhost:+1", id="signed_port"),
        pytest.param("localhost:65536", id="port_too_high"),
        pytest.param("localhost:" + "9" * 5000, id="port_of_5000_digits"),
        pytest.param("localhost:\u0661", id="port_in_other_digits"),
        pytest.param("::1:8080", id="ipv6_without_brackets"),
        pytest.param("[::1]", id="ipv6_without_port"),
        pytest.param("[::1:8080", id="open_bracket"),
        pytest.param("::1]:8080", id="closed_bracket"),
        pytest.param("[]:8080", id="empty_brackets"),
        pytest.param("my host:8080", id="space_inside"),
    ],
)
def test_parse_address_malformed(text: str) -> None:
    """What is no address is refused with the one error that says why."""
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert str(caught.value)


@given(st.text(alphabet="[]:.1af%é \n0", max_size=20))
@example("[fe80::1%é]:1")
def test_parse_address_any_text(text: str) -> None:
    """Any text is an address that reads back as itself, or an `AddressError`."""
    try:
        address = parse_address(text)
    except AddressError:
        return
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "is_loopback", "is_wildcard"),
    [
        ("127.0.0.1:1", True, False),
        ("127.9.9.9:1", True, False),
        ("[::1]:1", True, False),
        ("localhost:1", True, False),
        ("localhost.example:1", False, False),
        ("192.0.2.1:1", False, False),
        ("[2001:db8::1]:1", False, False),
        ("0.0.0.0:1", False, True),
        (":1", False, True),
        ("[::]:1", False, True),
        ("[::0]:1", False, True),
        ("[0:0:0:0:0:0:0:0]:1", False, True),
    ],
)
def test_is_loopback_and_is_wildcard(text: str, is_loopback: bool, is_wildcard: bool) -> None:  # noqa: FBT001 - a table
    """Loopback is what only this machine reaches; a wildcard listens everywhere, however it is spelt."""
    address = parse_address(text)
    assert (address.is_loopback, address.is_wildcard) == (is_loopback, is_wildcard)
