"""A client that doesn't take its last answer: the server has closed the connection, and doesn't keep it for ever."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, cast

import pytest

from fleetkey.http import protocol as http_protocol
from fleetkey.http import server
from tests.integration.http.http_rig import Client, Rig, running, soon
from tests.support.certificates import make_certificate

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

MORE_THAN_SOCKETS_HOLD = 14 * 1024 * 1024
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
MALFORMED = b"nonsense\r\n\r\n"
REFUSED = b"HTTP/1.1 400 "


async def _close_upon(client: Client, rig: Rig) -> None:
    """Ask for more than fits between here and there, and then for what ends the connection; read nothing."""
    rig.app.gate.set()
    cast("asyncio.Transport", client.writer.transport).pause_reading()
    client.send(REQUEST + MALFORMED)
    protocol = await rig.protocol()
    assert await soon(protocol.transport.is_closing)


@pytest.mark.parametrize("is_tls", [False, True], ids=["tcp", "tls"])
async def test_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_tls: bool) -> None:
    """It is cut off, and its place is free."""
    monkeypatch.setattr(http_protocol, "CUT_SECONDS", 0.2)
    # The end of TLS has a bound too, which is not what this is about.
    monkeypatch.setattr(server, "CLOSE_SECONDS", 600.0)
    made = make_certificate(tmp_path)
    settings = {"tls_cert": made.certificate, "tls_key": made.key} if is_tls else {}
    async with running(**settings) as rig, rig.client() as client:
        if is_tls:
            context = ssl.create_default_context(cafile=str(made.certificate))
            await client.writer.start_tls(context, server_hostname="localhost")
        rig.app.answer_bytes = MORE_THAN_SOCKETS_HOLD
        await _close_upon(client, rig)
        assert await soon(lambda: not rig.connections())


async def test_taken_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes it before that gets all of it, the refusal at its end too."""
    monkeypatch.setattr(http_protocol, "CUT_SECONDS", 600.0)
    async with running() as rig, rig.client() as client:
        rig.app.answer_bytes = MORE_THAN_SOCKETS_HOLD
        await _close_upon(client, rig)
        cast("asyncio.Transport", client.writer.transport).resume_reading()
        assert len((await client.answer())[2]) == MORE_THAN_SOCKETS_HOLD
        assert (await client.reader.read()).startswith(REFUSED)
        assert await soon(lambda: not rig.connections())
