"""What the command line prints stays on its line."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.device import Message
from fleetkey.device.printer import Printer


def printed(message: Message, *, as_json: bool = False) -> str:
    """Return what is printed for a message."""
    out = io.StringIO()
    Printer(as_json=as_json, out=out).message(message)
    return out.getvalue()


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"plain \xc3\xbc", "plain ü"),
        (b"", ""),
        (b"two\nlines\r\t", "two\\nlines\\r\\t"),
        (b"\x1b[2J\x00\x7f\xc2\x9b", "\\x1b[2J\\x00\\x7f\\u009b"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"back\\slash", "back\\slash"),
        (b"\\x1b", "\\\\x1b"),
        ("right\u202eleft\u2028".encode(), "right\\u202eleft\\u2028"),
    ],
)
def test_message(payload: bytes, shown: str) -> None:
    """A payload is one line of printable text."""
    assert printed(Message(topic="a/b", payload=payload)) == f"a/b {shown}\n"


@given(st.text(), st.binary())
def test_message_anything(topic: str, payload: bytes) -> None:
    """Whatever comes is exactly one line, as text and as JSON, and UTF-8 can spell it."""
    message = Message(topic=topic.encode(errors="ignore").decode(), payload=payload)
    for as_json in (False, True):
        line = printed(message, as_json=as_json)
        assert line.splitlines(keepends=True) == [line]
        line.encode()


def test_message_json() -> None:
    """As JSON, text is text and the rest is base64."""
    text = printed(Message(topic="t", payload=b"x", qos=1, retain=True), as_json=True)
    assert json.loads(text) == {"event": "message", "topic": "t", "payload": "x", "qos": 1, "retain": True}
    assert json.loads(printed(Message(topic="t", payload=b"\xff"), as_json=True))["payloadBase64"] == "/w=="
