"""Lists of serials as files: what is taken, and that every wrong line is named."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from fleetkey.management import InvalidRequestError, SerialFileError, SerialFormat, SerialService, read_serials
from fleetkey.registry import ConflictingSerialError, ListedSerial, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CSV, TEXT = SerialFormat.CSV, SerialFormat.TEXT


def _read(content: str | bytes, serial_format: SerialFormat = CSV) -> list[ListedSerial | str]:
    raw = content if isinstance(content, bytes) else content.encode()
    return [entry for _, entry in read_serials(io.BytesIO(raw), serial_format, profiles={"pump"})]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """An empty registry."""
    store = SqliteStore(tmp_path / "fleetkey.db")
    yield store
    store.close()


@pytest.fixture
def serials(store: SqliteStore) -> SerialService:
    """The service over it."""
    return SerialService(store, profiles={"pump"})


def test_csv_whole() -> None:
    """Every column says what it says, in any order, quoted or not, with any line end and a byte order mark."""
    content = '\ufeffname,serial,attribute:batch,tag:site,profile,tag:line\r\n"Pump ""3"", big",SN-1,7,north,pump,\r\n'
    (entry,) = _read(content)
    assert entry == ListedSerial(
        serial="SN-1", name='Pump "3", big', profile="pump", tags={"site": "north"}, attributes={"batch": "7"}
    )


def test_csv_serial_alone() -> None:
    """Other columns may be left out; empty rows are passed over."""
    assert _read("serial\nSN-1\n\nSN-2") == [ListedSerial(serial="SN-1"), ListedSerial(serial="SN-2")]


def test_text() -> None:
    """One serial a line."""
    assert _read("\ufeffSN-1\r\n\nSN 2\n", TEXT) == ["SN-1", "SN 2"]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        pytest.param("serial,nme\nSN-1,x", 1, "unknown column 'nme'", id="unknown_column"),
        pytest.param("SN-1,x\nSN-2,y", 1, "must include a column serial", id="no_header"),
        pytest.param("serial;name\nSN-1;x", 1, "separated by ';'; use commas", id="semicolons"),
        pytest.param('name\t"serial"\nx\tSN-1', 1, "separated by '\\t'", id="tabs"),
        pytest.param("serial,tag:\nSN-1,x", 1, "unknown column 'tag:'", id="tag_without_name"),
        pytest.param("serial,tag:a,tag:a\nSN-1,x,y", 1, "twice", id="column_twice"),
        pytest.param("serial,name\nSN-1", 2, "1 cells; the header has 2", id="too_few_cells"),
        pytest.param("serial\nSN-1,x", 2, "2 cells; the header has 1", id="too_many_cells"),
        pytest.param("serial,name\n,x", 2, "serial is empty", id="no_serial"),
        pytest.param("serial\nSN-0\n SN-1", 3, "whitespace", id="space"),
        pytest.param("serial,profile\nSN-1,pmp", 2, "no profile 'pmp'", id="unknown_profile"),
        pytest.param(f"serial,tag:a\nSN-1,{'x' * 129}", 2, "value of the tag 'a' must be", id="long_tag"),
        pytest.param(f"serial,name\nSN-1,{'x' * 129}", 2, "name must be at most", id="long_name"),
        pytest.param('serial\n"SN-1\n', 2, "not valid CSV", id="open_quote"),
        pytest.param(b"serial\nSN-1\nSN-\xff\n", 3, "not UTF-8", id="not_utf8"),
        pytest.param("serial\n" + "x" * 20_000, 2, "longer than 16384 bytes", id="long_line"),
    ],
)
def test_csv_wrong_line(content: str | bytes, line: int, reason: str) -> None:
    """What is wrong is named with its line."""
    with pytest.raises(SerialFileError, match="nothing was imported") as caught:
        _read(content)
    ((found, said),) = caught.value.errors
    assert found == line
    assert reason in said


@pytest.mark.parametrize("serial_format", SerialFormat)
@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("<!DOCTYPE html>\n<html>\n", "HTML"),
        ("\ufeff  <html lang='en'><head>\n", "HTML"),
        ('<?xml version="1.0"?>\n<Error/>\n', "XML"),
        ("<Error><Code>AccessDenied</Code></Error>", "XML"),
        ('{"detail": "not found"}\n', "JSON"),
        ('["SN-1", "SN-2"]\n', "JSON"),
        ("[\n  1,\n", "JSON"),
        (b"PK\x03\x04\x14\x00\x06", "spreadsheet; save it as CSV"),
        (b"\x1f\x8b\x08\x00", "gzip archive; unpack it first"),
        (b"%PDF-1.7\n", "PDF"),
        ("SN-1\nSN-2\n".encode("utf-16"), "save it as UTF-8"),
        (b"\x7fELF\x02\x00\x00", "a binary file"),
    ],
    ids=["html", "mark_html", "xml", "element", "object", "array", "lines", "zip", "gzip", "pdf", "utf16", "elf"],
)
def test_other_kinds_of_files(content: str | bytes, what: str, serial_format: SerialFormat) -> None:
    """No line of a failed download, a spreadsheet or another file becomes a serial; what it looks like is said."""
    with pytest.raises(SerialFileError, match="not a list of serials, but looks like") as caught:
        _read(content, serial_format)
    ((_, said),) = caught.value.errors
    assert what in said


def test_other_kind_after_empty_lines() -> None:
    """Empty lines before it make no difference."""
    with pytest.raises(SerialFileError, match="line 3: this is not a list of serials, but looks like HTML"):
        _read("\ufeff\n\n<!doctype html>\n", TEXT)


@pytest.mark.parametrize("serial", ["<1>", "{A}", "[B]", "P<K", "SN<html>"])
def test_serials_with_brackets(serial: str) -> None:
    """Brackets in a serial don't make a file another kind of file."""
    assert _read(f"{serial}\nSN-2\n", TEXT) == [serial, "SN-2"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        *(
            pytest.param(f"{header}\nSN-1,x\n", 1, id=name)
            for name, header in (
                ("commas", "serial,name"),
                ("semicolons", '"serial";"name"'),
                ("tabs", "name\tserial"),
                ("mark", "\ufeffserial, tag:a"),
            )
        ),
        pytest.param("serial\nSN-1\n", 1, id="header_alone"),
        pytest.param('\ufeff"serial"\r\nSN-1\r\n', 1, id="quoted_header_alone"),
        pytest.param("SN-1,north\nSN-2,south\n", 1, id="no_header"),
        pytest.param("SN-1\n\nSN-2;south\n x\n", 3, id="later"),
        pytest.param("SN-1\nSN-2\t\n", 2, id="tab_at_the_end"),
    ],
)
def test_text_that_is_csv(content: str, line: int) -> None:
    """A CSV file isn't eaten line by line: no cell, row or header becomes a serial."""
    with pytest.raises(SerialFileError, match=r"looks like CSV: name the file \.csv or use --format csv") as caught:
        _read(content, TEXT)
    assert [found for found, _ in caught.value.errors] == [line]
    assert _read("SN-0\nserial\n", TEXT) == ["SN-0", "serial"]


def test_csv_without_header() -> None:
    """It is only called a list of text if it could be one."""
    with pytest.raises(SerialFileError) as caught:
        _read("SN-1,x\nSN-2,y")
    assert "--format text" not in str(caught.value)
    with pytest.raises(SerialFileError, match="--format text"):
        _read("SN-1\nSN-2")


@pytest.mark.parametrize("serial_format", [CSV, TEXT])
def test_several_wrong_lines(serial_format: SerialFormat) -> None:
    """All wrong lines are named, up to ten."""
    lines = ["serial" if serial_format is CSV else "SN-0", "SN-1", " x", "SN-2", "y "]
    with pytest.raises(SerialFileError) as caught:
        _read("\n".join(lines), serial_format)
    assert [line for line, _ in caught.value.errors] == [3, 5]
    with pytest.raises(SerialFileError, match="there are more") as caught:
        _read("\n".join([lines[0], *[" x"] * 50]), serial_format)
    assert len(caught.value.errors) == 10


def test_import_all_or_nothing(store: SqliteStore, serials: SerialService) -> None:
    """One wrong line after thousands of good ones, and none is added and nothing audited."""
    good = "\n".join(f"SN-{number}" for number in range(12_000))
    with pytest.raises(SerialFileError, match="line 12002"):
        serials.import_file(io.BytesIO(f"serial\n{good}\n x\n".encode()), CSV, actor="test")
    assert store.count_serials() == 0
    assert store.last_audit(1) == []


def test_import_says_more_of_a_listed_serial(store: SqliteStore, serials: SerialService) -> None:
    """A CSV replaces what was said of a serial; a bare serial changes nothing of it."""
    store.add_serials(["A", "B"], actor="test")
    added = serials.import_file(io.BytesIO(b"serial,name,tag:x\nA,one,1\nB,,\nC,,\n"), CSV, actor="test")
    assert (added.added, added.known, added.replaced) == (1, 2, 1)
    assert store.find_serial("A") == ListedSerial(serial="A", name="one", tags={"x": "1"})
    serials.import_file(io.BytesIO(b"serial,name\nA,two\n"), CSV, actor="test")
    serials.import_file(io.BytesIO(b"A\n"), TEXT, actor="test")
    assert store.find_serial("A") == ListedSerial(serial="A", name="two")
    assert [entry.serial for entry in serials.iterate()] == ["A", "B", "C"]


@pytest.mark.parametrize("second", ["A,two", "A,"])
def test_import_contradicts_itself(store: SqliteStore, serials: SerialService, second: str) -> None:
    """Two rows that say different things of one serial: which one is meant can't be known, so neither is taken."""
    content = f"serial,name\nA,one\n\nA,one\nB,x\n{second}\nA,one\n".encode()
    with pytest.raises(SerialFileError) as caught:
        serials.import_file(io.BytesIO(content), CSV, actor="test")
    assert caught.value.errors == ((6, "'A' is already on line 2, with other details"),)
    assert store.count_serials() == 0


def test_import_all_that_is_wrong(store: SqliteStore, serials: SerialService) -> None:
    """Lines that contradict others and lines that can't be taken are named together, in order, up to ten."""
    content = "serial,name\nA,one\n x,\nA,two\n y,\n"
    with pytest.raises(SerialFileError, match="line 5: the serial begins or ends with whitespace; nothing") as caught:
        serials.import_file(io.BytesIO(content.encode()), CSV, actor="test")
    assert [line for line, _ in caught.value.errors] == [3, 4, 5]
    content = "serial,name\n" + "".join(f"S{number},{side}\n" for side in "ab" for number in range(9))
    with pytest.raises(SerialFileError, match="there are more") as caught:
        serials.import_file(io.BytesIO((content + " x,\n" * 3).encode()), CSV, actor="test")
    assert len(caught.value.errors) == 10
    assert store.count_serials() == 0
    assert store.last_audit(1) == []


def test_add_contradicts_itself(store: SqliteStore, serials: SerialService) -> None:
    """Entries that don't come from a file are counted from 1."""
    entries: list[str | ListedSerial] = [
        "B",
        ListedSerial(serial="A", name="one"),
        ListedSerial(serial="A", name="two"),
    ]
    with pytest.raises(ConflictingSerialError, match="entries 2 and 3 give different details for the serial 'A'"):
        serials.add(entries, actor="test")
    assert store.count_serials() == 0


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(ListedSerial(serial="A", profile="pmp"), id="unknown_profile"),
        pytest.param(ListedSerial(serial="A", name="x" * 129), id="long_name"),
        pytest.param(ListedSerial(serial="A", tags={"": "x"}), id="bad_tag"),
        pytest.param(ListedSerial(serial="A", attributes={"a": ""}), id="bad_attribute"),
    ],
)
def test_add_is_checked_as_a_file_is(store: SqliteStore, serials: SerialService, entry: ListedSerial) -> None:
    """Entries that don't come from a file are held to the same rules."""
    with pytest.raises(InvalidRequestError, match=r"^serials\[1\] \('A'\): ") as caught:
        serials.add(["B", entry], actor="test")
    assert caught.value.field == "serials[1]"
    assert store.count_serials() == 0
    assert serials.add([ListedSerial(serial="A", profile="pump", tags={"a": "b"})], actor="test").added == 1


def test_page(store: SqliteStore, serials: SerialService) -> None:
    """Pages go through the list with a cursor."""
    store.add_serials([f"S{number}" for number in range(5)], actor="test")
    first = serials.page(limit=3)
    assert [entry.serial for entry in first.items] == ["S0", "S1", "S2"]
    second = serials.page(cursor=first.next_cursor, limit=3)
    assert ([entry.serial for entry in second.items], second.next_cursor) == (["S3", "S4"], None)
