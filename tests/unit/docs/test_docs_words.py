"""Words that the code writes into audit, log and registry, and the pages that explain them."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import fleetkey
from fleetkey.access import Action, Refused, TopicScope, decide
from fleetkey.broker.store.schema import open_broker_database
from fleetkey.config import load_settings
from fleetkey.management import AuditAction
from fleetkey.registry import AuditRecord, ChangeKind, DeviceState, RefusalReason, RetiredReason, open_store
from tests.unit.docs.docs_pages import DOCS, rows, section

PACKAGE = Path(fleetkey.__file__).parent
AUDIT = DOCS / "reference/audit-and-changes.md"
STORAGE = DOCS / "reference/storage.md"
TROUBLESHOOTING = DOCS / "how-to/troubleshooting.md"
LOG = DOCS / "reference/log.md"
TOPICS = DOCS / "explanation/topics.md"
SOURCES = [file.read_text() for file in PACKAGE.rglob("*.py") if "device" not in file.relative_to(PACKAGE).parts]
"""What the server is made of; `device` writes into none of these."""
AUDITED_CHANGES = {
    ChangeKind.DEVICE_APPROVED,
    ChangeKind.DEVICE_DESCRIBED,
    ChangeKind.DEVICE_REJECTED,
    ChangeKind.DEVICE_DISABLED,
    ChangeKind.DEVICE_ENABLED,
    ChangeKind.DEVICE_DELETED,
    ChangeKind.DEVICE_TAGGED,
    ChangeKind.KEY_CONNECTED,
}


def _first_cells(text: str) -> set[str]:
    return {word for cells in rows(text) for word in re.findall(r"`([^`]+)`", cells[0])}


def _written(pattern: str) -> set[str]:
    return {word for source in SOURCES for word in re.findall(pattern, source)}


def test_change_kinds() -> None:
    """Every kind of change is explained, and no other."""
    assert _first_cells(section(AUDIT, "Change feed")) == {kind.value for kind in ChangeKind}


def test_audit_actions() -> None:
    """Every action that is audited is explained and can be asked for, and no other."""
    actions = _written(r'action="(\w+)"') | {kind.value for kind in AUDITED_CHANGES}
    explained = _first_cells(section(AUDIT, "Audit").partition("### ")[0])
    fields = {field.name for field in dataclasses.fields(AuditRecord)}
    assert explained == actions | fields
    assert actions == {action.value for action in AuditAction}


def _reasons_named_in(*places: str) -> set[RefusalReason]:
    """Return the reasons for a refusal that the modules of these places name."""
    files = [file for place in places for file in PACKAGE.glob(place)]
    return {RefusalReason[name] for file in files for name in re.findall(r"RefusalReason\.([A-Z_]+)", file.read_text())}


def test_registration_reasons() -> None:
    """Every reason for which a registration is refused is explained."""
    reasons = _reasons_named_in("registration/**/*.py", "http/body.py", "registry/plans/issue.py")
    # These two are told in the log alone: the registry and the threads are what an entry would need.
    reasons -= {RefusalReason.OVERLOADED, RefusalReason.STORE_UNAVAILABLE, RefusalReason.PENDING}
    text = section(AUDIT, "Reasons of a registration")
    assert len(reasons) > 20
    for reason in reasons:
        assert f"`{reason}`" in text


def test_reasons_of_retirement() -> None:
    """Every reason for which a key is retired is explained, and no other."""
    reasons = {reason.value for reason in RetiredReason}
    assert _first_cells(section(AUDIT, "Why a key was retired")) == reasons


def test_login_refusals() -> None:
    """Every reason for which a connection is refused is explained, with its return code."""
    explained = {cells[1].strip("`"): cells[0] for cells in rows(section(TROUBLESHOOTING, "Connecting over MQTT"))}
    for reason in _reasons_named_in("access/login/*.py"):
        assert explained[reason.value] == str(Refused(reason).return_code)


def test_events_of_the_log() -> None:
    """Every event that the server logs is named in some page, and the page about the log names no other."""
    events = _written(r'log\.(?:info|warning|error|exception|debug)\(\s*(?:# noqa[^\n]*\n\s*)?"(\w+)"')
    pages = "\n".join(page.read_text() for page in DOCS.rglob("*.md"))
    assert "topic_refused" in events
    assert [event for event in sorted(events) if f"`{event}`" not in pages] == []
    named = {word for line in LOG.read_text().splitlines() for word in re.findall(r"^\| (`\w+`(?:, `\w+`)*)", line)}
    for word in {word.strip("`") for words in named for word in words.split(", ")}:
        assert any(f'"{word}"' in source for source in SOURCES), word


def test_device_states() -> None:
    """Every state of a device is named where states are filtered by."""
    text = section(DOCS / "reference/cli.md", "`fleetkey devices list`")
    for state in DeviceState:
        assert f"`{state.value}`" in text


def _tables(path: Path) -> dict[str, list[str]]:
    with closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            for table in tables
            if not table.startswith(("sqlite_", "_"))
        }


def _explained(title: str) -> dict[str, list[str]]:
    return {cells[0].strip("`"): re.findall(r"`(\w+)`", cells[1]) for cells in rows(section(STORAGE, title))}


def test_tables_of_the_registry(tmp_path: Path) -> None:
    """Every table of a new registry is explained, with its columns in order."""
    file = tmp_path / "fleetkey.toml"
    file.touch()
    open_store(load_settings(file, {"data_dir": tmp_path / "data"})).close()
    assert _explained("Tables") == _tables(tmp_path / "data/fleetkey.db")


def test_tables_of_the_broker(tmp_path: Path) -> None:
    """The same for a new `broker.db`."""
    open_broker_database(tmp_path / "broker.db").close()
    assert _explained("Tables of the broker") == _tables(tmp_path / "broker.db")


@pytest.mark.parametrize("cells", rows(section(TOPICS, "Containment")), ids=lambda cells: cells[0])
def test_containment_table(cells: list[str]) -> None:
    """What the page says about filters under `devices/+/#` is what is decided."""
    scope = TopicScope(publish=(), subscribe=("devices/+/#",))
    for topic_filter in re.findall(r"`([^`]+)`", cells[0]):
        assert decide(scope, Action.SUBSCRIBE, topic_filter) == (cells[1].strip("*") == "yes")
