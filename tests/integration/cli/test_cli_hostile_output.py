"""What every command prints for people, on a registry in which everything that can be chosen is hostile."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from fleetkey.cli.main import app
from fleetkey.registry import (
    AuditEntry,
    Presence,
    RefusalIncrement,
    RefusalListener,
    RefusalReason,
    RefusalStage,
)
from tests.integration.cli.cli_rig import CommandLine
from tests.unit.test_printable import HOSTILE, harmful

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN_NAMES = {"serve", "demo"}
"""They print addresses, numbers and steps of ours; their log and steps are in `tests/unit/test_printable.py`."""
SETTINGS = """
[webhooks.backend]
url = "https://fleet.example.com/hook"
secrets = ["a secret of rather more than 32 characters"]
[registration.hmac]
secrets = { a = "0123456789abcdef0123456789abcdef" }
"""
STATEMENTS = (
    "UPDATE serials SET serial = :text, details = json_object('name', :text, 'tags', json_object(:text, :text))",
    "UPDATE devices SET name = :text, serial = :text, profile = :text WHERE serial = 'SN-1'",
    "UPDATE devices SET name = :text, profile = :text",
    "INSERT INTO device_tags SELECT device_id, :text, :text FROM devices",
    "INSERT INTO device_attributes SELECT device_id, :text, :text FROM devices",
    "UPDATE presence SET reason = :text, address = :text",
    "UPDATE access_keys SET name = :text, description = :text WHERE kind = 'application'",
    "UPDATE tokens SET name = :text, created_by = :text",
    "UPDATE webhooks SET last_error = :text",
)


def _commands() -> set[str]:
    """Return every command there is, in words."""
    found = set()

    def walk(command: Any, words: tuple[str, ...]) -> None:
        children = getattr(command, "commands", None)
        if words and (children is None or getattr(command, "invoke_without_command", False)):
            found.add(" ".join(words))
        for name, child in (children or {}).items():
            walk(child, (*words, name))

    walk(typer.main.get_command(app), ())
    return found - OWN_NAMES


@pytest.fixture
def words(fleetkey: CommandLine) -> dict[str, str]:
    """Fill a registry with hostile text, and return what stands for it in the lines below."""
    (fleetkey.folder / "fleetkey.toml").write_text(SETTINGS)
    device_id, key = fleetkey.device()
    pending, _ = fleetkey.device("SN-2", is_pending=True)
    application = fleetkey.json("keys", "create", "--application", "a", "--all-devices")["key"]
    token = fleetkey.json("tokens", "create", "--name", "a", "--role", "viewer")["token_id"]
    fleetkey.json("serials", "add", "SN-9")
    with fleetkey.store() as store:
        store.begin_webhook("backend")
        store.record_presence({device_id: Presence(is_online=True, connected_at=1)})
        store.record(
            AuditEntry(actor=HOSTILE, action="register", outcome="refused", reason=HOSTILE, serial=HOSTILE, key=HOSTILE)
        )
        store.add_refusals(
            [
                RefusalIncrement(
                    stage=RefusalStage.PUBLISH,
                    reason=RefusalReason.FOREIGN_TOPIC,
                    count=1,
                    first_at=1,
                    last_at=1,
                    listener=RefusalListener.MQTT,
                    address=HOSTILE,
                    serial=HOSTILE,
                    key=key,
                    client_id=HOSTILE,
                    topic=HOSTILE,
                    detail=HOSTILE,
                    claimant="key",
                )
            ]
        )
    with closing(sqlite3.connect(fleetkey.database)) as connection, connection:
        for statement in STATEMENTS:
            connection.execute(statement, {"text": HOSTILE})
    return {
        "DEVICE": device_id, "PENDING": pending, "KEY": key, "APPLICATION": application, "TOKEN": token,
        "HOSTILE": HOSTILE, "FILE": str(fleetkey.folder / f"\x1b[2J{chr(0x202E)}.file"),
    }  # fmt: skip


LINES = (
    "serials add HOSTILE",
    "serials import FILE",
    "serials list",
    "serials list --details",
    "serials prove HOSTILE",
    "serials remove HOSTILE",
    "devices list",
    "devices show DEVICE",
    "devices show HOSTILE",
    "devices approve PENDING",
    "devices reject PENDING",
    "devices disable DEVICE",
    "devices enable DEVICE",
    "devices tag DEVICE HOSTILE=HOSTILE",
    "devices tag DEVICE a=b",
    "devices describe DEVICE --name x",
    "devices describe DEVICE HOSTILE",
    "devices delete DEVICE",
    "keys list",
    "keys show APPLICATION",
    "keys show HOSTILE",
    "keys create --application HOSTILE --all-devices",
    "keys create --application b --device HOSTILE",
    "keys create --from-json FILE",
    "keys revoke APPLICATION",
    "keys rotate DEVICE",
    "explain",
    "explain DEVICE",
    "explain APPLICATION",
    "explain HOSTILE",
    "explain --device DEVICE --publish HOSTILE",
    "explain --key APPLICATION --subscribe HOSTILE",
    "explain --key HOSTILE --will HOSTILE",
    "tokens list",
    "tokens create --name HOSTILE --role viewer",
    "tokens revoke TOKEN",
    "webhooks list",
    "webhooks test HOSTILE",
    "tls self-signed --host HOSTILE",
    "audit",
    "audit --action HOSTILE",
    "audit --since HOSTILE",
    "audit export - --format csv",
    "audit export - --format jsonl",
    "audit export FILE",
    "backup FILE",
    "restore FILE",
    "doctor",
    "HOSTILE",
    "audit --HOSTILE",
)


def test_every_command_is_tried() -> None:
    """The lines above have every command but those that print nothing of others."""
    missing = {command for command in _commands() if not any(f"{line} ".startswith(f"{command} ") for line in LINES)}
    assert missing == set()


@pytest.mark.parametrize("line", LINES)
def test_command(fleetkey: CommandLine, words: dict[str, str], line: str) -> None:
    """No control or format character gets out, whether the command does what it is asked for or says why not."""
    for extra in ([], ["--json"]):
        out, err = _run(fleetkey, words, line, extra)
        assert out + err
        assert not harmful(out + err)
        if not extra and line.split()[1:2] == ["list"]:
            # What is hostile did get there.
            assert "\\x1b]0;owned\\x07" in out


def _run(fleetkey: CommandLine, words: dict[str, str], line: str, extra: list[str]) -> tuple[str, str]:
    argv = [words.get(word, word.replace("HOSTILE", HOSTILE)) for word in line.split()]
    where = [] if argv[0] == HOSTILE else ["--data-dir", str(fleetkey.data_dir)]
    finished = fleetkey.run([*argv, *where, *extra])
    return finished.out, finished.err


def test_follow(fleetkey: CommandLine, words: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit that is followed is one line an entry, whatever the entry says."""
    del words

    def stop(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fleetkey.cli.commands.audit.time.sleep", stop)
    out = fleetkey.text("audit", "--follow")
    assert not harmful(out)
    assert len(out.splitlines()) == len(fleetkey.json("audit"))
    assert "\\x1b]0;owned\\x07" in out


@pytest.mark.parametrize("word", ["devices list", "audit", "keys list", "serials list"])
@pytest.mark.parametrize("is_refusal", [False, True])
def test_remote(
    fleetkey: CommandLine, words: dict[str, str], monkeypatch: pytest.MonkeyPatch, word: str, *, is_refusal: bool
) -> None:
    """A server that isn't what it was says what it likes, and the terminal shows it as text."""
    monkeypatch.setenv("FLEETKEY_TOKEN", "fkt_x")
    argv = [words.get(part, part) for part in word.split()]
    local = fleetkey.run([*argv, "--data-dir", str(fleetkey.data_dir), "--json"]).json
    if word == "serials list":
        local = [{"serial": HOSTILE, "name": HOSTILE, "profile": HOSTILE, "tags": {}, "attributes": {}}]
    answer = {"items": local, "next_cursor": None} if isinstance(local, list) else local
    if is_refusal:
        answer = {"detail": HOSTILE, "status": 409}
    with _server(409 if is_refusal else 200, answer) as url:
        finished = fleetkey.run([*argv, "--url", url])
    assert finished.out + finished.err
    assert not harmful(finished.out + finished.err)
    assert "\\x1b]0;owned" in finished.out + finished.err


@contextmanager
def _server(status: int, answer: object) -> Iterator[str]:
    """Answer every request so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_crash(fleetkey: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody expected ends a command with its traceback, in which nothing moves a cursor either."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr("fleetkey.cli.commands.devices.as_fields", broken)
    device_id, _ = fleetkey.device()
    finished = fleetkey("devices", "show", device_id, "--data-dir", fleetkey.data_dir, status=1)
    assert "Traceback" in finished.err
    assert not harmful(finished.err)
