"""Refusals in the audit: whose they are, how many get an entry, and how few transactions write them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from fleetkey.access.protection.refusal_log import MAX_LINES
from fleetkey.management import prove_serial
from fleetkey.registration import refusal_audit
from fleetkey.registration.outcomes import Limited, NotAllowed
from fleetkey.registration.refusal_audit import RefusalAudit
from fleetkey.registry import AuditEntry, DeviceState
from tests.unit.access.access_rig import until
from tests.unit.registration.app_rig import registration
from tests.unit.registry.store_rig import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.unit.registration.app_rig import Registration

FLOOD = 1_500
"""Refusals of strangers, each from an address of its own; more than get an entry in a minute."""
AT_ONCE = 100
HMAC = '[registration.hmac]\nsecrets = { a = "0123456789abcdef0123456789abcdef" }'


def _address(number: int) -> str:
    return f"198.18.{number // 250}.{number % 250}"


def _entry(reason: str, *, by_stranger: bool = True, address: str = "192.0.2.1") -> AuditEntry:
    return AuditEntry(
        actor="device", action="register", outcome="refused", reason=reason, address=address, by_stranger=by_stranger
    )


async def _flood(served: Registration, count: int = FLOOD, *, serial: str = "SN-nobody") -> None:
    for start in range(0, count, AT_ONCE):
        addresses = map(_address, range(start, min(start + AT_ONCE, count)))
        outcomes = await asyncio.gather(*(served.registrar.register(serial, None, address) for address in addresses))
        assert {type(outcome) for outcome in outcomes} == {NotAllowed}


class Book:
    """Keeps what is written, once it may be."""

    def __init__(self) -> None:
        self.batches: list[list[AuditEntry]] = []
        self.free = threading.Event()

    def record(self, entries: Sequence[AuditEntry]) -> None:
        """Write a batch."""
        assert self.free.wait(30)
        self.batches.append(list(entries))

    @property
    def entries(self) -> list[AuditEntry]:
        """Everything that was written."""
        return [entry for batch in self.batches for entry in batch]


@asynccontextmanager
async def audited(book: Book) -> AsyncIterator[RefusalAudit]:
    """Write refusals into a book."""
    audit = RefusalAudit(book.record, clock=FakeClock())
    try:
        yield audit
    finally:
        book.free.set()
        await audit.close()


async def test_flood_from_many_addresses(tmp_path: Path) -> None:
    """A flood over many addresses leaves every entry of operators and devices, few of its own, in few transactions."""
    async with registration(
        tmp_path, store__max_audit_rows=1_000, store__max_stranger_audit_rows=100, access__max_pending_hashes=100_000
    ) as served:
        served.store.add_serials(["SN-1"], actor="cli:ann")
        await served.register("SN-1")
        commits: list[None] = []
        served.store.on_committed(lambda: commits.append(None))
        for _ in range(2):
            await _flood(served)
        await served.registrar.close()
        rows = served.store.last_audit(10_000)
        assert [row.action for row in rows if not row.by_stranger] == ["serials_added", "register"]
        assert len(rows) <= refusal_audit.MAX_STRANGER_ENTRIES + 3
        # How many go together depends on how fast the disk is; it is never one each.
        assert len(commits) < refusal_audit.MAX_STRANGER_ENTRIES
        further = 2 * FLOOD - refusal_audit.MAX_STRANGER_ENTRIES
        assert rows[-1].reason.startswith(f"allowlist:not_listed further={further} addresses=")
        assert served.registrar.refusals.bounds["max_stranger_entries"] == further


async def test_flood_in_the_log(tmp_path: Path) -> None:
    """A flood over many addresses has a bounded number of lines, and hides none of a device that is refused."""
    async with registration(tmp_path, access__max_pending_hashes=100_000) as served:
        served.store.add_serials(["SN-1"], actor="test")
        device_id = (await served.register("SN-1"))["deviceId"]
        served.store.set_device_state(device_id, DeviceState.DISABLED, actor="test")
        with capture_logs() as lines:
            await _flood(served, MAX_LINES + AT_ONCE)
            await served.post("SN-1")
            await served.registrar.close()
        assert Counter(line["reason"] for line in lines if line["event"] == "registration_refused") == {
            "allowlist:not_listed": MAX_LINES,
            "device_disabled": 1,
        }
        assert [(line["of"], line["further"]) for line in lines if line["event"] == "refusals_not_logged"] == [
            ("registration_refused", AT_ONCE)
        ]


async def test_who_is_proven_decides(tmp_path: Path) -> None:
    """Whoever names a device's serial without its proof is a stranger; with the proof, it is the device that speaks."""
    async with registration(tmp_path, HMAC, registration__verifiers=["hmac"]) as served:
        _, proof = prove_serial(served.settings.registration.hmac, "SN-1", group=None)
        device_id = (await served.register("SN-1", proof.reveal()))["deviceId"]
        served.store.set_device_state(device_id, DeviceState.DISABLED, actor="test")
        await served.post("SN-1")
        await served.post("SN-1", "AAAA")
        await served.post("SN-1", proof.reveal())
        await served.client.post("/register", content=b"{")
        refused = [row for row in served.store.last_audit(10) if row.outcome == "refused"]
        assert [(row.reason, row.serial, row.device_id, row.by_stranger) for row in refused] == [
            ("hmac:no_proof", "SN-1", None, True),
            ("hmac:wrong_proof", "SN-1", None, True),
            ("device_disabled", "SN-1", device_id, False),
            ("wrong_content_type", None, None, True),
        ]


async def test_rate_limits_by_who_is_proven(tmp_path: Path) -> None:
    """A stranger who uses up a serial's attempts takes no entry from its device, and is not taken for it."""
    async with registration(
        tmp_path, HMAC, registration__verifiers=["hmac"], registration__max_per_serial_per_hour=2
    ) as served:
        outcomes = [await served.registrar.register("SN-1", None, "192.0.2.1") for _ in range(3)]
        assert isinstance(outcomes[-1], Limited)
        _, proof = prove_serial(served.settings.registration.hmac, "SN-1", group=None)
        for number in range(3):
            await served.registrar.register("SN-1", proof.reveal(), f"192.0.2.{number + 2}")
        limited = [row for row in served.store.last_audit(20) if row.reason == "too_many_for_serial"]
        assert [row.by_stranger for row in limited] == [True, False]


async def test_refusals_of_one_device(tmp_path: Path) -> None:
    """A device's own refusals keep their entries, so many an hour; then they are counted, from wherever they come."""
    async with registration(tmp_path, access__max_pending_hashes=100_000) as served:
        served.store.add_serials(["SN-1"], actor="test")
        device_id = (await served.register("SN-1"))["deviceId"]
        served.store.set_device_state(device_id, DeviceState.DISABLED, actor="test")
        await _flood(served, 100, serial="SN-1")
        await served.registrar.close()
        rows = [row for row in served.store.last_audit(1_000) if row.reason.startswith("device_disabled")]
        assert len(rows) == 21
        assert rows[-1].reason == "device_disabled further=80 addresses=80"
        assert {row.by_stranger for row in rows} == {False}


async def test_patience_and_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal isn't held up by a registry that can't be written; its entry follows. What is too much is counted."""
    monkeypatch.setattr(refusal_audit, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(refusal_audit, "MAX_WAITING_ENTRIES", 2)
    book = Book()
    async with audited(book) as audit:
        start = time.monotonic()
        first = asyncio.create_task(audit.note(_entry("first")))
        await until(lambda: bool(audit._writes) and not audit._waiting, 10)
        await asyncio.gather(*(audit.note(_entry(str(at))) for at in range(3)), first)
        assert time.monotonic() - start < 10
        assert book.batches == []
        book.free.set()
        await until(lambda: len(book.batches) == 2, 10)
        assert [entry.reason for entry in book.entries] == ["first", "0", "1"]
    assert [entry.reason for entry in book.entries[3:]] == ["2 further=1 addresses=1"]
    assert audit.bounds == Counter(max_waiting_entries=1)


async def test_strangers_take_no_room_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the registry is held, entries of known devices and tokens wait beside those of strangers, not behind."""
    monkeypatch.setattr(refusal_audit, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(refusal_audit, "MAX_WAITING_ENTRIES", 3)
    book = Book()
    async with audited(book) as audit:
        await asyncio.gather(*(audit.note(_entry(str(at))) for at in range(20)))
        await asyncio.gather(*(audit.note(_entry(f"known {at}", by_stranger=False)) for at in range(3)))
    assert [entry.reason for entry in book.entries if not entry.by_stranger] == ["known 0", "known 1", "known 2"]


async def test_one_transaction_for_what_waits() -> None:
    """What comes while a transaction runs is one more, however much it is."""
    book = Book()
    async with audited(book) as audit:
        notes = [asyncio.create_task(audit.note(_entry("first")))]
        await until(lambda: bool(audit._writes) and not audit._waiting, 10)
        notes += [asyncio.create_task(audit.note(_entry(str(at)))) for at in range(100)]
        await asyncio.sleep(0)
        book.free.set()
        await asyncio.gather(*notes)
        assert [len(batch) for batch in book.batches] == [1, 100]


async def test_one_entry_a_minute_for_each_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound, an entry a reason says how many there were and from how many addresses; the log says it once."""
    monkeypatch.setattr(refusal_audit, "MAX_STRANGER_ENTRIES", 2)
    monkeypatch.setattr(refusal_audit, "SUMMARY_SECONDS", 0.05)
    monkeypatch.setattr(refusal_audit, "MAX_COUNTED_ADDRESSES", 4)
    book = Book()
    book.free.set()
    with capture_logs() as logs:
        async with audited(book) as audit:
            for number in range(12):
                await audit.note(_entry("a" if number % 2 else "b", address=_address(number)))
            await until(lambda: len(book.entries) == 4, 10)
            await until(lambda: audit._summing is None, 10)
    reasons = sorted(entry.reason for entry in book.entries)
    assert reasons == ["a", "a further=5 addresses=4+", "b", "b further=5 addresses=4+"]
    assert {(entry.address, entry.by_stranger) for entry in book.entries if "further" in entry.reason} == {("", True)}
    assert [line["bound"] for line in logs if line["event"] == "audit_bound_reached"] == ["max_stranger_entries"]
    assert audit.bounds == Counter(max_stranger_entries=10)


async def test_same_wait_for_all_during_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """While refusals of strangers are only counted, a known device's refusal doesn't wait for its entry either."""
    monkeypatch.setattr(refusal_audit, "MAX_STRANGER_ENTRIES", 1)
    book = Book()
    async with audited(book) as audit:
        asyncio.get_running_loop().call_later(30, book.free.set)
        await audit.note(_entry("stranger"))
        await audit.note(_entry("counted"))
        await audit.note(_entry("known", by_stranger=False))
        assert book.batches == []
    assert [entry.reason for entry in book.entries] == ["stranger", "known", "counted further=1 addresses=1"]


async def test_summaries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many reasons there were, so many are told apart."""
    monkeypatch.setattr(refusal_audit, "MAX_STRANGER_ENTRIES", 1)
    monkeypatch.setattr(refusal_audit, "MAX_SUMMARIES", 3)
    book = Book()
    async with audited(book) as audit:
        for number in range(10):
            await audit.note(_entry(str(number)))
        assert len(audit._summaries) == 3
