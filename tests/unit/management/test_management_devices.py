"""What operators do to devices, one at a time and many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.config import Settings, TopicSettings
from fleetkey.management import (
    APPROVE,
    DECISIONS,
    DISABLE,
    ENABLE,
    REJECT,
    BulkChange,
    ConflictError,
    DeviceFilter,
    DeviceSelection,
    InvalidRequestError,
    Management,
    build_management,
    bulk,
    scans,
)
from fleetkey.management.schemas import BulkAction, BulkAnswer, DeviceAnswer
from fleetkey.registry import DevicePolicy, DeviceState, NotFoundError, SqliteStore
from tests.unit.registry.store_rig import FakeClock, JournalReader, issue, new_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.registry import Device

UNKNOWN = "0" * 24


def _pending(store: SqliteStore, serial: str, **tags: str) -> str:
    outcome = store.issue_device_key(new_request(serial, require_approval=True, tags=tags))
    return outcome.device.device_id


def _states(store: SqliteStore) -> dict[str, str]:
    return {device.serial: device.state.value for device in store.list_devices(limit=1_000)}


def _pages(management: Management, wanted: DeviceFilter, limit: int) -> list[DeviceAnswer]:
    found: list[DeviceAnswer] = []
    cursor: str | None = None
    while True:
        page = management.devices.page(wanted, cursor=cursor, limit=limit)
        assert len(page.items) <= limit
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 100])
def test_page(management: Management, store: SqliteStore, limit: int) -> None:
    """Pages of any size give each device once, in order, with or without a pattern."""
    for number in range(7):
        issue(store, f"SN-{number}")
    every = list(map(DeviceAnswer.of, store.list_devices()))
    assert _pages(management, DeviceFilter(), limit) == every
    even = [device for device in every if int(device.serial[-1]) % 2 == 0]
    assert _pages(management, DeviceFilter(serial_pattern="SN-[02468]"), limit) == even
    assert list(management.devices.iterate(DeviceFilter(serial_pattern="SN-[02468]"))) == even


def test_page_scans_a_bounded_number(
    management: Management, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pattern that matches seldom makes short pages, not long waits; all is found in the end."""
    monkeypatch.setattr(scans, "MAX_SCANNED", 4)
    for number in range(11):
        issue(store, f"SN-{number}")
    assert len(_pages(management, DeviceFilter(serial_pattern="SN-7"), 5)) == 1
    page = management.devices.page(DeviceFilter(serial_pattern="none"), limit=5)
    assert page.items == ()
    assert page.next_cursor is not None


@pytest.mark.parametrize("limit", [0, -1, 1_001])
def test_page_limit(management: Management, limit: int) -> None:
    """A page has 1 to 1000 items."""
    with pytest.raises(InvalidRequestError) as caught:
        management.devices.page(DeviceFilter(), limit=limit)
    assert caught.value.field == "limit"


def test_page_bad_pattern(management: Management) -> None:
    """A pattern that can't be used says where."""
    with pytest.raises(InvalidRequestError, match="character 1") as caught:
        management.devices.page(DeviceFilter(serial_pattern="("))
    assert caught.value.field == "serial_pattern"


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("approve", "pending", "active"),
        ("approve", "rejected", "active"),
        ("approve", "active", "active"),
        ("approve", "disabled", None),
        ("reject", "pending", "rejected"),
        ("reject", "rejected", "rejected"),
        ("reject", "active", None),
        ("reject", "disabled", None),
        ("enable", "disabled", "pending"),
        ("enable", "active", "active"),
        ("enable", "pending", None),
        ("enable", "rejected", None),
        ("disable", "pending", "disabled"),
        ("disable", "active", "disabled"),
    ],
)
def test_one_device(management: Management, store: SqliteStore, action: str, before: str, after: str | None) -> None:
    """Each change leads from some states to one; from others it is a conflict, and nothing is changed."""
    device_id = _pending(store, "S")
    store.set_device_state(device_id, DeviceState(before), actor="test")
    decision = DECISIONS[BulkAction(action)]
    if after is None:
        journal = JournalReader(store)
        with pytest.raises(ConflictError, match=before):
            management.devices.decide(decision, device_id, actor="test")
        assert journal.read() == ([], [])
    else:
        assert management.devices.decide(decision, device_id, actor="test").state.value == after
    with pytest.raises(NotFoundError):
        management.devices.decide(decision, UNKNOWN, actor="test")


@pytest.mark.parametrize("action", ["approve", "reject"])
def test_one_device_decided_meanwhile(
    management: Management, store: SqliteStore, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that someone disables between the look and the change stays disabled."""
    device_id = _pending(store, "S")
    look = store.get_device

    def look_and_disable(wanted: str) -> Device:
        found = look(wanted)
        store.set_device_state(wanted, DeviceState.DISABLED, actor="other")
        return found

    monkeypatch.setattr(store, "get_device", look_and_disable)
    with pytest.raises(ConflictError, match="disabled in the meantime"):
        management.devices.decide(DECISIONS[BulkAction(action)], device_id, actor="test")
    assert look(device_id).state is DeviceState.DISABLED


def test_approve_many_by_id(management: Management, store: SqliteStore) -> None:
    """Pending and rejected devices that are named are approved; an active one counts as unchanged."""
    ids = [_pending(store, f"S{number}") for number in range(3)]
    management.devices.decide(REJECT, ids[1], actor="test")
    management.devices.decide(APPROVE, ids[2], actor="test")
    result = management.devices.change_many(
        BulkAction.APPROVE, DeviceSelection(device_ids=[*ids, ids[0]]), actor="test"
    )
    assert (result.changed, result.unchanged, result.refused) == (2, 1, 0)
    assert [(one.device_id, one.state, one.outcome) for one in result.devices] == [(ids[2], "active", "unchanged")]
    assert set(_states(store).values()) == {"active"}


@pytest.mark.parametrize("action", [BulkAction.APPROVE, BulkAction.REJECT])
def test_many_by_id_all_or_none(management: Management, store: SqliteStore, action: BulkAction) -> None:
    """One device that isn't there, and none is decided: an id may be mistyped."""
    ids = [_pending(store, f"S{number}") for number in range(2)]
    before = _states(store)
    with pytest.raises(NotFoundError):
        management.devices.change_many(action, DeviceSelection(device_ids=[*ids, UNKNOWN]), actor="test")
    assert _states(store) == before


@pytest.mark.parametrize(
    ("action", "already", "after"),
    [
        (BulkAction.APPROVE, "active", {"pending": "active", "rejected": "active"}),
        (BulkAction.REJECT, "rejected", {"pending": "rejected"}),
        (BulkAction.DISABLE, "disabled", {"pending": "disabled", "rejected": "disabled", "active": "disabled"}),
        (BulkAction.ENABLE, "active", {"disabled": "active"}),
    ],
)
@pytest.mark.parametrize("is_dry_run", [False, True], ids=["done", "tried"])
def test_many_in_every_state(
    management: Management,
    store: SqliteStore,
    action: BulkAction,
    already: str,
    after: dict[str, str],
    *,
    is_dry_run: bool,
) -> None:
    """Named devices that can be decided are, those that are already stay, and the others are named as refused."""
    ids = {state: _pending(store, f"S-{state}") for state in ("pending", "rejected")}
    ids |= {state: issue(store, f"S-{state}")[1] for state in ("active", "disabled")}
    for state in ("rejected", "disabled"):
        store.set_device_state(ids[state], DeviceState(state), actor="test")
    selection = DeviceSelection(device_ids=list(ids.values()))
    result = management.devices.change_many(BulkChange(action=action, is_dry_run=is_dry_run), selection, actor="test")
    states = {state: store.get_device(device_id).state.value for state, device_id in ids.items()}
    assert states == ({state: state for state in ids} if is_dry_run else {**{state: state for state in ids}, **after})
    outcomes = {one.state.value: one.outcome.value for one in result.devices}
    assert outcomes.pop(already) == "unchanged"
    assert (result.changed, result.unchanged) == (len(after), 1)
    would_be = {state for state, outcome in outcomes.items() if outcome == "changed"}
    assert would_be == (set(after) if is_dry_run else set())
    refused = {state for state, outcome in outcomes.items() if outcome == "refused"}
    assert refused == set(ids) - set(after) - {already}
    assert result.refused == len(refused)


def test_many_by_tag_and_pattern(management: Management, store: SqliteStore) -> None:
    """All pending devices that match everything are decided, and no other, in any state."""
    for number in range(6):
        _pending(store, f"SN-{number}", site="north" if number < 4 else "south")
    issue(store, "SN-9", tags={"site": "north"})
    rejected = _pending(store, "SN-8", site="north")
    management.devices.decide(REJECT, rejected, actor="test")
    selection = DeviceSelection(tags={"site": "north"}, serial_pattern="SN-[0-2]")
    assert management.devices.change_many(BulkAction.APPROVE, selection, actor="test") == BulkAnswer(
        changed=3, unchanged=0, next_cursor=None
    )
    assert (
        management.devices.change_many(BulkAction.REJECT, DeviceSelection(tags={"site": "north"}), actor="test").changed
        == 1
    )
    assert _states(store) == {
        "SN-0": "active",
        "SN-1": "active",
        "SN-2": "active",
        "SN-3": "rejected",
        "SN-4": "pending",
        "SN-5": "pending",
        "SN-8": "rejected",
        "SN-9": "active",
    }


def test_many_in_chunks(management: Management, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change to many is several short transactions, each with all that goes with it."""
    monkeypatch.setattr(bulk, "BULK_CHUNK", 4)
    for number in range(10):
        _pending(store, f"S{number}")
    journal, commits = JournalReader(store), []
    store.on_committed(lambda: commits.append(1))
    assert (
        management.devices.change_many(BulkAction.APPROVE, DeviceSelection(serial_pattern="S.*"), actor="test").changed
        == 10
    )
    assert len(commits) == 3
    assert journal.read() == (["device_approved"] * 10, ["device_approved:ok"] * 10)


@pytest.mark.parametrize("action", [BulkAction.TAG, BulkAction.ROTATE, BulkAction.DELETE])
def test_many_of_any_state(
    management: Management, store: SqliteStore, action: BulkAction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tags, rotation and deletion reach devices of every state, in short transactions, each device audited once."""
    monkeypatch.setattr(bulk, "BULK_CHUNK", 2)
    ids = [issue(store, f"S{number}", tags={"site": "north"})[1] for number in range(3)]
    ids += [_pending(store, "S3", site="north"), _pending(store, "S4", site="north")]
    store.set_device_state(ids[0], DeviceState.DISABLED, actor="test")
    store.tag_device(ids[4], {"line": "3"}, actor="test")
    _, other = issue(store, "other", tags={"site": "south"})
    set_tags = {"line": "3", "nothing": None} if action is BulkAction.TAG else {}
    change = BulkChange(action=action, set_tags=set_tags)
    journal, commits = JournalReader(store), []
    store.on_committed(lambda: commits.append(1))
    changed, unchanged = {BulkAction.TAG: (4, 1), BulkAction.ROTATE: (3, 2), BulkAction.DELETE: (5, 0)}[action]
    selection = DeviceSelection(tags={"site": "north"})
    assert management.devices.change_many(change, selection, actor="test") == BulkAnswer(
        changed=changed, unchanged=unchanged, next_cursor=None
    )
    assert len(commits) == 3
    names = {BulkAction.TAG: "device_tagged", BulkAction.ROTATE: "keys_rotated", BulkAction.DELETE: "device_deleted"}
    assert journal.read().audit == [f"{names[action]}:ok"] * changed
    assert store.get_device(other).tags == {"site": "south"}
    assert len(store.list_devices()) == (1 if action is BulkAction.DELETE else 6)
    again = management.devices.change_many(change, selection, actor="test")
    assert (again.changed, journal.read().audit) == (0, [])


def test_rotate_many_own_grace(management: Management, store: SqliteStore, clock: FakeClock) -> None:
    """Each device has the grace period of its profile, unless another is asked for."""
    keys = [issue(store, f"S{grace}", policy=DevicePolicy(grace_seconds=grace)) for grace in (5, None)]
    selection = DeviceSelection(device_ids=[device_id for _, device_id in keys])
    for asked, expected in ((None, [5, 86_400]), (1, [1, 1])):
        change = BulkChange(action=BulkAction.ROTATE, grace_seconds=asked)
        management.devices.change_many(change, selection, actor="test")
        ends = [store.get_key(key).expires_at for key, _ in keys]
        assert ends == [clock.milliseconds + seconds * 1000 for seconds in expected]


def test_delete_many_retires_keys(management: Management, store: SqliteStore) -> None:
    """What is deleted with others leaves as little behind as what is deleted alone."""
    keys = [issue(store, f"S{number}") for number in range(3)]
    selection = DeviceSelection(device_ids=[device_id for _, device_id in keys])
    management.devices.change_many(BulkAction.DELETE, selection, actor="test")
    assert {store.get_key(key).retired_reason for key, _ in keys} == {"device_deleted"}


@pytest.mark.parametrize(
    "selection",
    [
        pytest.param(DeviceSelection(), id="nothing"),
        pytest.param(DeviceSelection(device_ids=["0" * 24], tags={"a": "b"}), id="ids_and_tags"),
        pytest.param(DeviceSelection(device_ids=[f"{number:024x}" for number in range(10_001)]), id="too_many"),
        pytest.param(DeviceSelection(serial_pattern="("), id="bad_pattern"),
    ],
)
def test_selection_refused(management: Management, selection: DeviceSelection) -> None:
    """A selection that says nothing, too much, or two things is refused: never is everything meant."""
    with pytest.raises(InvalidRequestError):
        management.devices.change_many(BulkAction.APPROVE, selection, actor="test")


@pytest.mark.parametrize("has_own_topics", [False, True])
def test_tags_of_topics(store: SqliteStore, *, has_own_topics: bool) -> None:
    """A tag that a device's topics have can't be taken away, nor get what can't be in a topic; others may."""
    topics = ("site/{tag:site}/{device_id}/#",)
    settings = Settings.model_construct(topics=TopicSettings(publish=() if has_own_topics else topics))
    service = build_management(settings, store).devices
    policy = DevicePolicy(subscribe=topics if has_own_topics else ())
    _, device_id = issue(store, tags={"line": "3"}, policy=policy)
    _, other = issue(store, "S2", policy=DevicePolicy(publish=("a/{tag:line}",)))
    assert service.tag(device_id, {"site": None, "line": "a/b"}, actor="test").tags == {"line": "a/b"}
    assert service.tag(device_id, {"site": "north"}, actor="test").tags["site"] == "north"
    journal = JournalReader(store)
    wrong: list[dict[str, str | None]] = [{"site": None}, {"site": "a/b"}, {"x": "y", "site": "a b"}, {"site": "#"}]
    for tags in wrong:
        with pytest.raises(ConflictError, match="tag:site"):
            service.tag(device_id, tags, actor="test")
        for selection in (DeviceSelection(device_ids=[device_id]), DeviceSelection(serial_pattern="S1")):
            with pytest.raises(ConflictError, match=device_id):
                service.change_many(BulkChange(action=BulkAction.TAG, set_tags=tags), selection, actor="test")
    assert journal.read() == ([], [])
    with pytest.raises(ConflictError, match="tag:line"):
        service.tag(other, {"line": "+"}, actor="test")


def test_labels_refused(management: Management, store: SqliteStore) -> None:
    """Tags, attributes and names that can't be are refused with the field."""
    _, device_id = issue(store)
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: management.devices.tag(device_id, {"": "x"}, actor="test"), "tags"),
        (lambda: management.devices.tag(device_id, {"a": "x" * 129}, actor="test"), "tags"),
        (lambda: management.devices.describe(device_id, attributes={"a\n": "x"}, actor="test"), "attributes"),
        (lambda: management.devices.describe(device_id, name="x" * 129, actor="test"), "name"),
    ]
    for call, field in wrong:
        with pytest.raises(InvalidRequestError) as caught:
            call()
        assert caught.value.field == field
    assert management.devices.tag(device_id, {"a": "b", "c": None}, actor="test").tags == {"a": "b"}


@pytest.mark.parametrize("is_rejected", [False, True])
def test_enable_is_no_approval(management: Management, store: SqliteStore, *, is_rejected: bool) -> None:
    """A device that nobody approved waits again when it is enabled, one by one and in bulk; others work again."""
    waiting = [_pending(store, serial, site="north") for serial in ("S1", "S2")]
    _, active = issue(store, "S3", tags={"site": "north"})
    if is_rejected:
        for device_id in waiting:
            management.devices.decide(REJECT, device_id, actor="test")
    for device_id in (*waiting, active):
        management.devices.decide(DISABLE, device_id, actor="test")
    assert management.devices.decide(ENABLE, waiting[0], actor="test").state is DeviceState.PENDING
    management.devices.change_many(BulkAction.ENABLE, DeviceSelection(tags={"site": "north"}), actor="test")
    assert _states(store) == {"S1": "pending", "S2": "pending", "S3": "active"}
    management.devices.decide(APPROVE, waiting[0], actor="test")
    assert _states(store)["S1"] == "active"
