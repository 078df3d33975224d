"""`fleetkey serials import` and `prove`: CSV, wrong lines, and a kill in the middle."""

from __future__ import annotations

import base64
import hmac
import io
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from fleetkey.cli.serve.embedded_server import EmbeddedServer
from fleetkey.config import load_settings
from fleetkey.registry import SqliteStore
from tests.support.command_line import clean_environment
from tests.support.ledger import the_ledger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.cli.cli_rig import CommandLine

SECRET = "s" * 40
PROFILE = '[profiles.pump]\nname = "Pump"\n'


def _proof(serial: str, secret: str) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), serial.encode(), "sha256")).decode()


def test_import_csv(fleetkey: CommandLine) -> None:
    """A file named .csv is read as CSV, and `serials list --details` shows what it said."""
    (fleetkey.folder / "fleetkey.toml").write_text(PROFILE)
    file = fleetkey.folder / "batch.csv"
    file.write_text("serial,profile,tag:site,attribute:batch,name\nSN-1,pump,north,7,\nSN-2,,,,Two\n")
    assert fleetkey.json("serials", "import", file) == {"added": 2, "known": 0, "replaced": 0}
    assert fleetkey.json("serials", "list") == ["SN-1", "SN-2"]
    assert fleetkey.json("serials", "list", "--details") == [
        {"serial": "SN-1", "name": "", "profile": "pump", "tags": {"site": "north"}, "attributes": {"batch": "7"}},
        {"serial": "SN-2", "name": "Two", "profile": None, "tags": {}, "attributes": {}},
    ]
    assert "site=north" in fleetkey.text("serials", "list", "--details")
    file.write_text("serial,name\nSN-1,One\nSN-2,Two\nSN-1,One\n")
    assert fleetkey.text("serials", "import", file) == "added 0, 2 already listed, 1 updated\n"
    assert "site=north" not in fleetkey.text("serials", "list", "--details")


def test_import_format(fleetkey: CommandLine) -> None:
    """`--format` says it when the name doesn't."""
    file = fleetkey.folder / "list.CSV"
    file.write_text("SN 1\nSN-1\n")
    assert fleetkey.json("serials", "import", file, "--format", "text")["added"] == 2
    other = fleetkey.folder / "list.dat"
    other.write_text("serial\nSN-2\n")
    assert fleetkey.json("serials", "import", other, "--format", "csv")["added"] == 1
    assert fleetkey.json("serials", "list") == ["SN 1", "SN-1", "SN-2"]


def test_import_wrong_lines(fleetkey: CommandLine) -> None:
    """All wrong lines are named in one sentence, and nothing is imported."""
    file = fleetkey.folder / "batch.csv"
    file.write_text("serial,profile\nSN-1,\nSN-2,pump\n x,\n")
    said = fleetkey.error("serials", "import", file)
    assert "batch.csv, line 3: there is no profile 'pump' in the settings; line 4: " in said
    assert said.endswith("nothing was imported")
    file.write_text("serial,name\nSN-1,a\nSN-1,b\n")
    assert "line 3: 'SN-1' is already on line 2, with other details" in fleetkey.error("serials", "import", file)
    list_of_csv = fleetkey.folder / "batch.txt"
    list_of_csv.write_text("serial,name\nSN-1,a\n")
    assert "--format csv" in fleetkey.error("serials", "import", list_of_csv)
    assert fleetkey.json("serials", "list") == []


def test_import_wrong_line_of_standard_input(fleetkey: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named in words, not by its dash."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"SN-1\n x\n")))
    said = fleetkey("serials", "import", "-", "--data-dir", fleetkey.data_dir, status=1).error
    assert said.startswith("fleetkey: standard input, line 2: ")


def test_import_empty(fleetkey: CommandLine) -> None:
    """A file without a serial adds none, and that is said."""
    for name, content in (("empty.txt", ""), ("blank.txt", "\n\n"), ("header.csv", "serial,name\n")):
        (fleetkey.folder / name).write_text(content)
        ended = fleetkey("serials", "import", name, "--data-dir", fleetkey.data_dir)
        assert ended.err == f"fleetkey: {name} contains no serials\n"
        assert ended.out == "added 0, 0 already listed\n"


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.1])
def test_import_killed(tmp_path: Path, moment: float) -> None:
    """An import that is killed leaves all of its serials or none, and can be done again."""
    total = 20_000
    lines = [f"SN-{number},n{number},{number % 7}" for number in range(total)]
    content = "\n".join(["serial,name,tag:line", *lines]).encode()
    command = [
        sys.executable,
        "-m",
        "fleetkey",
        "serials",
        "import",
        "-",
        "--format",
        "csv",
        "--data-dir",
        str(tmp_path),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=clean_environment()
    ) as process:
        assert process.stdin is not None
        # It has read most of it once this is through the pipe, and can't have committed anything.
        process.stdin.write(content)
        process.stdin.flush()
        if moment:
            process.stdin.close()
            time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        if not process.stdin.closed:
            process.stdin.close()
    store = SqliteStore(tmp_path / "fleetkey.db")
    try:
        assert store.count_serials() in ({0, total} if moment else {0})
        audited = [entry.action for entry in store.last_audit(10)]
        assert audited == (["serials_added"] if store.count_serials() else [])
        assert store.add_serials((f"SN-{number}" for number in range(total)), actor="test").added in {0, total}
    finally:
        store.close()


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_import_interrupted(fleetkey: CommandLine, where: str) -> None:
    """Ctrl-C in the middle says that nothing was imported, which is true, and ends with exit status 130."""
    file = fleetkey.folder / "free.toml"
    file.write_text("[http]\nbind = '127.0.0.1:0'\n[mqtt]\nbind = '127.0.0.1:0'\n")
    token = fleetkey.json("tokens", "create", "--name", "ci", "--role", "operator")["token"]
    the_ledger().note_secret(token[-64:])
    with EmbeddedServer(load_settings(file, {"data_dir": fleetkey.data_dir})) as server:
        options = ["--data-dir", str(fleetkey.data_dir)] if where == "here" else ["--url", server.http_url]
        with subprocess.Popen(
            [sys.executable, "-m", "fleetkey", "serials", "import", "-", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment({"FLEETKEY_TOKEN": token}),
        ) as process:
            assert process.stdin is not None
            # It has begun to read once this is through the pipe.
            process.stdin.write("SN-123456\n" * 100_000)
            process.stdin.flush()
            process.send_signal(signal.SIGINT)
            # Closed by communicate, after the signal.
            out, error = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert error.strip() == "fleetkey: interrupted; nothing was imported"
    assert fleetkey.json("serials", "list") == []


def test_import_interrupted_after_the_last_serial() -> None:
    """When another server has received everything and hasn't answered, it isn't said that nothing was imported."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with subprocess.Popen(
            [sys.executable, "-m", "fleetkey", "serials", "import", "-", "--url", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment({"FLEETKEY_TOKEN": "f" * 64}),
        ) as process:
            assert process.stdin is not None
            process.stdin.write("SN-1\n")
            process.stdin.close()
            connection, _ = listening.accept()
            received = b""
            with connection:
                connection.settimeout(30)
                while not received.endswith(b"0\r\n\r\n"):
                    received += connection.recv(65_536)
                process.send_signal(signal.SIGINT)
                process.wait(30)
            assert process.stderr is not None
            said = process.stderr.read().strip()
    assert process.returncode == 130
    assert said.startswith("fleetkey: interrupted; all serials were sent, and the server may still import them")


def test_prove(fleetkey: CommandLine) -> None:
    """The factory gets the proof that any HMAC program makes; no secret is shown."""
    (fleetkey.folder / "line-1.secret").write_text(f"{SECRET}\n")
    (fleetkey.folder / "fleetkey.toml").write_text('[registration.hmac]\nsecret_files = { line-1 = "line-1.secret" }\n')
    assert fleetkey.text("serials", "prove", "SN-1") == f"{_proof('SN-1', SECRET)}\n"
    assert fleetkey.json("serials", "prove", "SN-1", "--group", "line-1") == {
        "serial": "SN-1",
        "group": "line-1",
        "proof": _proof("SN-1", SECRET),
    }


def test_prove_refused(fleetkey: CommandLine) -> None:
    """What is missing or ambiguous is said; a secret never is."""
    assert "no group secret" in fleetkey.error("serials", "prove", "SN-1", status=2)
    settings = fleetkey.folder / "fleetkey.toml"
    settings.write_text(f'[registration.hmac.secrets]\na = "{SECRET}"\nb = "{SECRET}"\n')
    assert "name a group: a, b" in fleetkey.error("serials", "prove", "SN-1", status=2)
    assert "no group 'c'" in fleetkey.error("serials", "prove", "SN-1", "--group", "c", status=2)
    assert "whitespace" in fleetkey.error("serials", "prove", " SN-1", "--group", "a", status=2)
    settings.write_text('[registration.hmac.secrets]\na = "geheim"\n')
    said = fleetkey.error("serials", "prove", "SN-1", status=2)
    assert "registration.hmac.secrets.a" in said
    assert "geheim" not in said
