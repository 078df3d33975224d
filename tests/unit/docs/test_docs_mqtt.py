"""The page about MQTT explains every reason that the broker may give to a client of MQTT 5."""

from __future__ import annotations

import re

from fleetkey.broker.codec import Kind, Reason
from fleetkey.broker.codec.reason_codes import CODES, SCOPE_TEXTS, SUBACK_CODES, TEXTS
from fleetkey.device.reasons import NAMES
from tests.unit.docs.docs_pages import DOCS, rows, section

PAGE = DOCS / "reference/mqtt.md"
ELSEWHERE = {Reason.UNSUPPORTED_PROTOCOL: "return code 1"}
"""Reasons that have a sentence instead of a row."""


def _explained(*titles: str) -> set[int]:
    """Return the codes that have a row."""
    return {int(cells[0][2:4], 16) for title in titles for cells in rows(section(PAGE, title))}


def test_every_code() -> None:
    """Each code that the broker has is explained, and no other."""
    expected = {code for reason, code in CODES.items() if reason is not Reason.SUCCESS and reason not in ELSEWHERE}
    expected |= set(SUBACK_CODES.values()) - set(CODES.values())
    assert _explained("CONNACK", "DISCONNECT", "PUBACK and PUBREC", "SUBACK and UNSUBACK") == expected
    for sentence in ELSEWHERE.values():
        assert sentence in PAGE.read_text()


def test_names() -> None:
    """The device has words for each of them."""
    assert _explained("CONNACK", "DISCONNECT", "PUBACK and PUBREC", "SUBACK and UNSUBACK") <= set(NAMES)


def test_every_reason_string() -> None:
    """Each reason string is listed with its codes."""
    expected = {text: f"0x{CODES[reason]:02X}" for reason, text in TEXTS.items()}
    expected[TEXTS[Reason.NOT_STORED]] += f"; SUBACK 0x{SUBACK_CODES[Reason.NOT_STORED]:02X}"
    expected[SCOPE_TEXTS[Kind.PUBACK]] = "PUBACK and PUBREC 0x87"
    expected[SCOPE_TEXTS[Kind.SUBACK]] = "SUBACK 0x87"
    shown = {cells[0].strip("`"): cells[1] for cells in rows(section(PAGE, "What each sentence means"))}
    assert shown == expected


def test_settings_of_version_5() -> None:
    """The table of what is served names the settings that bound it."""
    named = set(re.findall(r"`(max_\w+)`", section(PAGE, "What is served")))
    assert {"max_properties", "max_topic_aliases", "max_will_delay_seconds", "max_keep_alive_seconds"} <= named
