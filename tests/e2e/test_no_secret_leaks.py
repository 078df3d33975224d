"""The search for secrets that ends every run: it finds what it is meant to find."""

from __future__ import annotations

import secrets
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import AuditEntry, SqliteStore
from tests.support.command_line import REPOSITORY
from tests.support.ledger import VARIABLE, Ledger, the_ledger

if TYPE_CHECKING:
    from pathlib import Path

SECRET = secrets.token_hex(32)


@pytest.fixture
def planted(empty_ledger: Ledger) -> Ledger:
    """Give a ledger that knows one secret, and others around it."""
    for secret in (secrets.token_hex(32), SECRET, secrets.token_hex(32)):
        empty_ledger.note_secret(secret)
    return empty_ledger


@pytest.mark.parametrize(
    "content",
    [SECRET, f"password={SECRET}", f"{'a' * 24}{SECRET}{'b' * 24}", f"b'{SECRET}'", f'{{"secret":"{SECRET}"}}'],
    ids=["alone", "field", "inside_digits", "repr", "json"],
)
def test_leaks_in_file(planted: Ledger, tmp_path: Path, content: str) -> None:
    """A secret in a log is found, wherever in it, and isn't repeated in the report."""
    log = tmp_path / "log.txt"
    log.write_text(f"first line\n{content}\n")
    planted.watch_file(log)
    planted.watch_file(log)
    (leak,) = planted.leaks()
    assert str(log) in leak
    assert SECRET not in leak


def test_leaks_in_text(planted: Ledger) -> None:
    """A secret in a refusal's body or on a command line is found."""
    planted.note_text("harmless")
    assert planted.leaks() == []
    planted.note_text(f"curl -d\n{SECRET}")
    assert len(planted.leaks()) == 1


def test_leaks_in_audit(planted: Ledger, tmp_path: Path) -> None:
    """A secret in the audit is found, and one in any other table."""
    path = tmp_path / "fleetkey.db"
    planted.watch_database(path)
    with closing(SqliteStore(path)) as store:
        store.record(AuditEntry(actor="test", action="register", outcome="refused", reason="harmless"))
        assert planted.leaks() == []
        store.record(AuditEntry(actor="test", action="register", outcome="refused", reason=f"wrong {SECRET}"))
        assert len(planted.leaks()) == 1
    other = tmp_path / "other.db"
    planted.watch_database(other)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE anything (at_all)")
        connection.execute("INSERT INTO anything VALUES (?)", (SECRET,))
        connection.commit()
    assert len(planted.leaks()) == 2


def test_leaks_of_nothing(planted: Ledger, tmp_path: Path) -> None:
    """Digits that are no secret, and files that aren't there, are no leak."""
    log = tmp_path / "log.txt"
    log.write_text(f"{secrets.token_hex(32)} {SECRET[:-1]}")
    for path in (log, tmp_path / "missing.txt"):
        planted.watch_file(path)
    planted.watch_database(tmp_path / "missing.db")
    assert planted.leaks() == []


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "xdist"])
@pytest.mark.parametrize("leaky", [True, False], ids=["leak", "no_leak"])
def test_run_fails_with_a_leak(tmp_path: Path, workers: tuple[str, ...], *, leaky: bool) -> None:
    """A run in which a secret turned up fails though every test passed, and says where."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "test_it.py").write_text(
        "from tests.support.ledger import the_ledger\n"
        "def test_one():\n"
        f"    the_ledger().note_secret('{SECRET}')\n"
        "def test_two():\n"
        f"    the_ledger().note_text('{SECRET if leaky else 'nothing'}')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", *workers]
    ended = subprocess.run(
        [*command, "-c", "/dev/null", str(tmp_path)],
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(REPOSITORY),
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "TMPDIR": str(tmp_path),
            # Other plugins have no part in it, and take most of the time.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "2 passed" in ended.stdout, ended.stdout + ended.stderr
    assert ended.returncode == int(leaky)
    assert ("secrets were found" in ended.stdout) == leaky
    assert SECRET not in ended.stdout
    assert bool(list(tmp_path.glob("fleetkey-tests-*"))) == leaky


def test_run_has_a_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test of this run writes into the same one, and without one it fails rather than forgets."""
    assert the_ledger().folder.is_dir()
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(KeyError):
        the_ledger()
