"""Pages bounded in bytes make up the whole list, in order, each item once."""

from __future__ import annotations

import functools
import itertools
import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.config.labels import MAX_LABEL_CHARACTERS, MAX_LABELS
from fleetkey.management import (
    ApplicationKeyRequest,
    DeviceFilter,
    EncodedPage,
    KeyFilter,
    Management,
    SerialFilter,
    pages,
)
from fleetkey.management.pages import FIRST_BATCH, MAX_BATCH, MAX_PAGE_PART_BYTES, Batch, fill_page
from fleetkey.registry import (
    Actor,
    ApplicationScope,
    AuditEntry,
    AuditFilter,
    DeviceOrder,
    ListedSerial,
    Presence,
    Role,
    SqliteStore,
)
from tests.unit.registry.store_rig import issue

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.registry import Device

    Pages = Callable[..., EncodedPage[Any]]

CHARACTERS = 'aé漢🔑"\\'
"""One to four bytes long, and two that JSON escapes."""
COUNT = 60
EVERYTHING = AuditFilter()


class Item(msgspec.Struct, frozen=True):
    """An item of a list."""

    number: int
    text: str


def _assert_bounded(page: EncodedPage[Any], limit: int, max_bytes: int) -> None:
    """Check that a page keeps its bounds, and that its JSON is its items."""
    assert len(page.items) <= limit
    assert len(page.encoded) <= max_bytes or len(page.items) == 1
    assert msgspec.json.decode(b"[%b]" % page.encoded) == msgspec.to_builtins(list(page.items))


def _all(read: Pages, limit: int, max_bytes: int) -> list[Any]:
    """Return all items of a list, page by page."""
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = read(cursor=cursor, limit=limit)
        _assert_bounded(page, limit, max_bytes)
        found += page.items
        if page.next_cursor is None:
            return found
        # Otherwise, it would never end.
        assert page.items
        cursor = page.next_cursor


@given(
    sizes=st.lists(st.one_of(st.integers(0, 400), st.integers(0, 3 * MAX_PAGE_PART_BYTES)), max_size=300),
    limit=st.integers(1, pages.MAX_PAGE),
    character=st.sampled_from(CHARACTERS),
)
def test_fill_page(sizes: list[int], limit: int, character: str) -> None:
    """Whatever the items' sizes, nothing is lost, repeated or reordered, and little is read in vain."""
    items = [Item(number, character * (size // len(character.encode()))) for number, size in enumerate(sizes)]
    reads: list[int] = []

    def read(after: int, count: int) -> Batch[Item, int]:
        reads.append(count)
        found = items[after : after + count]
        return Batch(items=found, reached=after + len(found) if len(found) == count else None)

    def page(*, cursor: str | None, limit: int) -> EncodedPage[Item]:
        return fill_page(
            read,
            start=int(cursor or 0),
            limit=limit,
            show=lambda item: item,
            position=lambda item: item.number + 1,
            cursor=str,
        )

    found: list[Item] = []
    cursor: str | None = None
    while True:
        result = page(cursor=cursor, limit=limit)
        _assert_bounded(result, limit, MAX_PAGE_PART_BYTES)
        found += result.items
        cursor = result.next_cursor
        if cursor is None:
            break
    assert found == items
    assert max(reads) <= min(limit, MAX_BATCH)
    assert all(count <= FIRST_BATCH for count in reads[:1])


def test_fill_page_of_large_items() -> None:
    """Once items turn out to be large, one is read at a time, not a page full of them."""
    reads: list[int] = []

    def read(after: int, count: int) -> Batch[Item, int]:
        reads.append(count)
        return Batch(items=[Item(after + number, "x" * 3_000) for number in range(1, count + 1)], reached=after + count)

    page = fill_page(read, start=0, limit=1_000, show=lambda item: item, position=lambda item: item.number, cursor=str)
    assert page.is_cut
    assert sum(reads) <= len(page.items) + 2


def _labels(chance: random.Random, count: int) -> dict[str, str]:
    """Return labels of up to the longest, in characters of any length."""
    return {
        f"{number}{chance.choice(CHARACTERS)}": chance.choice(CHARACTERS) * chance.randint(1, MAX_LABEL_CHARACTERS)
        for number in range(count)
    }


def _some_labels(chance: random.Random) -> dict[str, str]:
    return _labels(chance, chance.choice([0, 1, 5, MAX_LABELS]))


def _fill_serials(management: Management, store: SqliteStore, chance: random.Random) -> tuple[Pages, list[str]]:
    del management
    names = [f"{chance.choice(CHARACTERS)}-{number:03}" for number in range(COUNT)]
    store.add_serials([ListedSerial(serial=name, tags=_some_labels(chance)) for name in names], actor="test")
    return lambda fleet, **page: fleet.serials.page(**page), list(store.iter_serials())


def _fill_devices(management: Management, store: SqliteStore, chance: random.Random) -> tuple[Pages, list[str]]:
    del management
    ids = [
        issue(store, f"SN-{number}", tags=_some_labels(chance), attributes=_some_labels(chance))[1]
        for number in range(COUNT)
    ]
    return lambda fleet, **page: fleet.devices.page(DeviceFilter(), **page), sorted(ids)


def _fill_searched(management: Management, store: SqliteStore, chance: random.Random) -> tuple[Pages, list[str]]:
    _, ids = _fill_devices(management, store, chance)
    wanted = DeviceFilter(serial_pattern="SN-[0-9]+", online=False)
    return lambda fleet, **page: fleet.devices.page(wanted, **page), ids


def _fill_listed(management: Management, store: SqliteStore, chance: random.Random) -> tuple[Pages, list[str]]:
    _, names = _fill_serials(management, store, chance)
    wanted = SerialFilter(serial_pattern=".*-[0-9]+", used=False)
    return lambda fleet, **page: fleet.serials.page(wanted, **page), names


def _fill_sorted(
    by: DeviceOrder, management: Management, store: SqliteStore, chance: random.Random
) -> tuple[Pages, list[str]]:
    _, ids = _fill_devices(management, store, chance)
    # Several with the same value, and several that were never seen.
    store.record_presence({one: Presence(last_seen_at=chance.randint(0, 3)) for one in ids[::2]})
    devices = [store.get_device(one) for one in ids]
    values: dict[DeviceOrder, Callable[[Device], Any]] = {
        DeviceOrder.SERIAL: lambda device: device.serial,
        DeviceOrder.CREATED: lambda device: -device.created_at,
        DeviceOrder.SEEN: lambda device: (device.presence.last_seen_at is None, -(device.presence.last_seen_at or 0)),
    }
    expected = [device.device_id for device in sorted(devices, key=values[by])]
    return lambda fleet, **page: fleet.devices.page(DeviceFilter(sort=by), **page), expected


def _fill_keys(management: Management, store: SqliteStore, chance: random.Random) -> tuple[Pages, list[str]]:
    del store
    made = []
    for number in range(COUNT):
        topics = tuple(f"t/{topic}/{chance.choice('aé漢🔑') * 40}" for topic in range(chance.choice([1, 50, 1_000])))
        request = ApplicationKeyRequest(name=f"k{number}", scope=ApplicationScope(subscribe=topics))
        made.append(management.keys.create_application(request, actor="test").key.key)
    return lambda fleet, **page: fleet.keys.page(KeyFilter(), **page), made


def _fill_tokens(management: Management, store: SqliteStore, chance: random.Random) -> tuple[Pages, list[str]]:
    del store
    made = [
        management.tokens.create(chance.choice(CHARACTERS) * chance.randint(1, 64), Role.VIEWER, actor="test")
        for _ in range(COUNT)
    ]
    return lambda fleet, **page: fleet.tokens.page(**page), [created.token.token_id for created in made]


def _fill_audit(management: Management, store: SqliteStore, chance: random.Random) -> tuple[Pages, list[str]]:
    del management
    for _ in range(COUNT):
        reason = chance.choice(CHARACTERS) * chance.randint(0, 500)
        store.record(AuditEntry(actor=Actor("cli:test"), action="register", outcome="refused", reason=reason))
    newest = [str(entry.seq) for entry in store.last_audit(COUNT)][::-1]
    return lambda fleet, **page: fleet.audit.newest(EVERYTHING, **page), newest


@pytest.mark.parametrize(
    ("fill", "name"),
    [
        (_fill_serials, "serial"),
        (_fill_devices, "device_id"),
        (_fill_searched, "device_id"),
        (_fill_listed, "serial"),
        *((functools.partial(_fill_sorted, by), "device_id") for by in DeviceOrder),
        (_fill_keys, "key"),
        (_fill_tokens, "token_id"),
        (_fill_audit, "seq"),
    ],
    ids=["serials", "devices", "searched", "listed", *DeviceOrder, "keys", "tokens", "audit"],
)
def test_pages_of_each_list(
    management: Management,
    store: SqliteStore,
    monkeypatch: pytest.MonkeyPatch,
    fill: Callable[..., tuple[Callable[..., EncodedPage[Any]], list[str]]],
    name: str,
) -> None:
    """Items of any size, up to labels at their bounds, are each in one page, in the order of the list."""
    read, expected = fill(management, store, random.Random(name))
    for max_bytes, limit in itertools.product((500, 20_000, MAX_PAGE_PART_BYTES), (1, 7, 1_000)):
        monkeypatch.setattr(pages, "MAX_PAGE_PART_BYTES", max_bytes)
        found = _all(functools.partial(read, management), limit, max_bytes)
        assert [str(getattr(item, name)) for item in found] == expected


def test_audit_oldest_first(management: Management, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit from its beginning is complete, too, though it always has a next cursor."""
    monkeypatch.setattr(pages, "MAX_PAGE_PART_BYTES", 2_000)
    _, newest = _fill_audit(management, store, random.Random("oldest"))
    found: list[str] = []
    cursor: str | None = None
    while items := (page := management.audit.oldest(EVERYTHING, cursor=cursor, limit=1_000)).items:
        _assert_bounded(page, 1_000, 2_000)
        found += [str(entry.seq) for entry in items]
        cursor = page.next_cursor
    assert found == newest[::-1]
