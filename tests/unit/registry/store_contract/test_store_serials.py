"""The allow-list of any store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.registry import (
    ConflictingSerialError,
    InvalidSerialError,
    ListedSerial,
    NotFoundError,
    SerialConflict,
    SerialsAdded,
    Store,
)
from tests.unit.registry.store_rig import JournalReader, issue

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_add_serials_new(store: Store) -> None:
    """What was added may register; nothing else may."""
    assert store.add_serials(["A1", "B2"], actor="cli") == SerialsAdded(added=2, known=0)
    assert store.has_serial("A1")
    assert not store.has_serial("a1")
    assert not store.has_serial("A1 ")
    assert store.count_serials() == 2


def test_add_serials_known_and_repeated(store: Store) -> None:
    """A serial that is listed already is counted as known; one that is twice in one addition counts once."""
    store.add_serials(["A1"], actor="cli")
    assert store.add_serials(["A1", "B2", "B2", "C3"], actor="cli") == SerialsAdded(added=2, known=1)
    assert list(store.iter_serials()) == ["A1", "B2", "C3"]


def test_add_serials_none(store: Store) -> None:
    """An empty addition is no error."""
    assert store.add_serials(iter(()), actor="cli") == SerialsAdded(added=0, known=0)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("", id="empty"),
        pytest.param(" A1", id="space_before"),
        pytest.param("A1\u00a0", id="space_after"),
        pytest.param("A" * 129, id="too_long"),
        pytest.param("A\n1", id="line_end"),
        pytest.param("A\0", id="nul"),
        pytest.param("A\u200b", id="invisible"),
        pytest.param("A\ud800", id="surrogate"),
    ],
)
def test_add_serials_one_is_bad(bad: str, store: Store) -> None:
    """One that can't be a serial, even after thousands of good ones, and none is added; it isn't repeated either."""
    journal = JournalReader(store)
    with pytest.raises(InvalidSerialError) as caught:
        store.add_serials([*(f"S{number}" for number in range(12_000)), bad, "Z1"], actor="cli")
    assert store.count_serials() == 0
    assert journal.read() == ([], [])
    assert not bad.strip() or bad not in str(caught.value)


def test_add_serials_longest_and_strangest(store: Store) -> None:
    """128 printable characters of any script are a serial."""
    serials = sorted(["A" * 128, "é/#+$%", "序列号 42", "x' OR '1'='1"])
    store.add_serials(serials, actor="cli")
    assert list(store.iter_serials()) == serials


def test_add_serials_source_breaks_off(store: Store) -> None:
    """When the source raises half-way, nothing is added and its error comes through as it is."""

    class BrokenSourceError(Exception):
        pass

    def broken() -> Iterator[str]:
        yield "A1"
        raise BrokenSourceError

    with pytest.raises(BrokenSourceError):
        store.add_serials(broken(), actor="cli")
    assert store.count_serials() == 0


def test_add_serials_progress(store: Store) -> None:
    """Whoever waits is told how many were read, and the last number is all of them."""
    told: list[int] = []
    store.add_serials((f"S{number}" for number in range(25_000)), actor="cli", on_progress=told.append)
    assert told == sorted(told)
    assert len(told) > 1
    assert told[-1] == 25_000


def test_iter_serials_thousands_in_order(store: Store) -> None:
    """Any number comes back in order, each once, also while the list changes."""
    serials = [f"S{number:05}" for number in range(3_500)]
    store.add_serials(reversed(serials), actor="cli")
    assert list(store.iter_serials()) == serials
    running = store.iter_serials()
    first = next(running)
    store.remove_serial("S03000", actor="cli")
    assert [first, *running] == [serial for serial in serials if serial != "S03000"]


@pytest.mark.parametrize("count", [999, 1_000, 1_001, 2_000])
def test_iter_serials_at_the_page_boundary(count: int, store: Store) -> None:
    """No page boundary loses or repeats one."""
    store.add_serials((f"S{number:05}" for number in range(count)), actor="cli")
    assert len(set(store.iter_serials())) == store.count_serials() == count


def test_remove_serial(store: Store) -> None:
    """A removed serial may not register; a device that registered with it stays."""
    store.add_serials(["A1"], actor="cli")
    _, device_id = issue(store, "A1")
    store.remove_serial("A1", actor="cli")
    assert not store.has_serial("A1")
    assert store.get_device(device_id).serial == "A1"
    with pytest.raises(NotFoundError):
        store.remove_serial("A1", actor="cli")


def test_serials_audit(store: Store) -> None:
    """Adding and removing are audited with who did it and how many; a refused removal leaves nothing."""
    journal = JournalReader(store)
    store.add_serials(["A1"], actor="anna")
    store.add_serials(["A1", "B2"], actor="anna")
    store.remove_serial("A1", actor="bert")
    with pytest.raises(NotFoundError):
        store.remove_serial("A1", actor="bert")
    assert journal.read() == ([], ["serials_added:ok", "serials_added:ok", "serial_removed:ok"])
    rows = store.last_audit(3)
    assert [(row.actor, row.serial, row.reason) for row in rows] == [
        ("anna", "A1", "added=1 known=0 replaced=0"),
        ("anna", None, "added=1 known=1 replaced=0 serials=A1, B2"),
        ("bert", "A1", ""),
    ]


def test_serials_audit_import(store: Store) -> None:
    """Of many the entry says how many, and how many are listed with other details now; of few and long ones, some."""
    store.add_serials([ListedSerial(serial=f"S{number:02}", name="old") for number in range(20)], actor="anna")
    newer = [ListedSerial(serial=f"S{number:02}", name="new" if number < 7 else "old") for number in range(21)]
    store.add_serials([*newer, newer[0]], actor="anna")
    store.add_serials(["x" * 127 + str(number) for number in range(10)], actor="anna")
    few, many = (row.reason for row in store.last_audit(2)[::-1])
    assert many == "added=1 known=20 replaced=7"
    assert few.endswith(" and 7 more")
    assert len(few) < 600


def test_find_serial(store: Store) -> None:
    """What an entry says is kept whole; a bare serial afterwards changes nothing, a newer entry replaces it all."""
    listed = ListedSerial(serial="A1", name="Pump", profile="pump", tags={"b": "2", "a": "ü"}, attributes={"c": "3"})
    store.add_serials([listed, "B2"], actor="cli")
    assert store.find_serial("A1") == listed
    assert store.find_serial("B2") == ListedSerial(serial="B2")
    assert store.find_serial("a1") is None
    store.add_serials(["A1", ListedSerial(serial="C3", name="Fan")], actor="cli")
    assert store.find_serial("A1") == listed
    store.add_serials([ListedSerial(serial="A1", name="Fan")], actor="cli")
    assert store.find_serial("A1") == ListedSerial(serial="A1", name="Fan")


def test_list_serials(store: Store) -> None:
    """Pages follow each other in order, with what is said of each."""
    entries = [ListedSerial(serial=f"S{number}", name=f"n{number}") for number in range(5)]
    store.add_serials(entries[::-1], actor="cli")
    pages: list[ListedSerial] = []
    while page := store.list_serials(after=pages[-1].serial if pages else "", limit=2):
        pages += page
    assert pages == entries


def test_add_serials_conflict(store: Store) -> None:
    """Entries that say different things of one serial are an error that names both, and none is added."""
    entries: list[tuple[int, str | ListedSerial]] = [
        (3, ListedSerial(serial="A1", name="x")),
        (7, "B2"),
        (9, ListedSerial(serial="A1", name="y")),
    ]
    with pytest.raises(ConflictingSerialError) as caught:
        store.add_serials(entries, actor="cli")
    assert caught.value.conflict == SerialConflict(serial="A1", first=3, second=9)
    told: list[SerialConflict] = []
    store.add_serials(entries, actor="cli", check=told.extend)
    assert told == [caught.value.conflict]


def test_scan_serials(store: Store) -> None:
    """A bounded search, by use and by a function, that goes on where it ended."""
    store.add_serials([f"S{number}" for number in range(6)], actor="anna")
    for number in (1, 3):
        issue(store, f"S{number}")

    def found(**options: Any) -> tuple[list[str], str | None]:
        scan = store.scan_serials(**{"max_scanned": 100, **options})
        return [listed.serial for listed in scan.items], scan.reached

    assert found() == ([f"S{number}" for number in range(6)], None)
    assert found(used=True) == (["S1", "S3"], None)
    assert found(used=False, limit=2) == (["S0", "S2"], "S2")
    assert found(used=False, limit=2, after="S2") == (["S4", "S5"], "S5")
    assert found(used=True, max_scanned=3) == (["S1"], "S2")
    assert found(matches=lambda serial: serial > "S3", after="S0") == (["S4", "S5"], None)
    assert found(matches=lambda _: False, max_seconds=0.0) == ([], "S0")
