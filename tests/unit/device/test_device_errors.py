"""What the device's errors say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fleetkey.device import BrokerRefused, ConnectionLost, PublishRefused, SubscriptionRefused
from fleetkey.device.reasons import MAX_REASON_CHARACTERS, in_words, reason_string


@pytest.mark.parametrize(
    ("code", "reason_code", "return_code", "words"),
    [
        (1, 0x84, 1, "unacceptable protocol version"),
        (3, 0x88, 3, "server unavailable"),
        (5, 0x87, 5, "not authorised"),
        (0x87, 0x87, 5, "not authorised"),
        (0x9F, 0x9F, 0, "connection rate exceeded"),
        (0xFE, 0xFE, 0, "unknown reason 0xFE"),
    ],
)
def test_broker_refused(code: int, reason_code: int, return_code: int, words: str) -> None:
    """A refusal is the same in both versions of MQTT if it means the same."""
    error = BrokerRefused(code)
    assert (error.reason_code, error.return_code) == (reason_code, return_code)
    assert str(error) == f"refused by the broker: {words}"
    assert error.is_about_credentials == (reason_code == 0x87)
    assert error.is_temporary == (reason_code in {0x88, 0x9F})


def test_without_words_of_the_broker() -> None:
    """Without a reason string, the name is said, and for a publish what it means; without a reason, neither."""
    assert str(PublishRefused("t", 0x87)).endswith("t: not authorised (topic outside of the key's scope)")
    assert str(PublishRefused("t", 0x97, "full")).endswith("t: quota exceeded (full)")
    assert str(SubscriptionRefused(["a", "b"])) == "the broker refused the subscription to a, b"
    assert str(ConnectionLost("h:1")) == "the connection to the broker at h:1 was lost"


def test_reason_string() -> None:
    """What a broker says is shortened, and printable."""
    assert reason_string(None) == ""
    properties: Any = SimpleNamespace(ReasonString="a\x1b[2J\nb" + "x" * 1000)
    text = reason_string(properties)
    assert text.startswith("a [2J bxxx")
    assert len(text) == MAX_REASON_CHARACTERS
    assert in_words(0x89, text).startswith("server busy (a [2J b")
