"""What becomes of a client is told from records, the audit log and presence; what is in force, from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.config import Settings
from fleetkey.management import ExplainService, InvalidRequestError
from fleetkey.management.schemas import ConditionEffect
from fleetkey.registry import (
    ApplicationScope,
    Presence,
    RefusalIncrement,
    RefusalListener,
    RefusalReason,
    RefusalStage,
    SqliteStore,
    new_access_key,
)
from tests.unit.registry.store_rig import FakeClock, issue

if TYPE_CHECKING:
    from fleetkey.management.schemas import ExplainAnswer

LETS_IN, KEEPS_OUT, NOTE = ConditionEffect.LETS_IN, ConditionEffect.KEEPS_OUT, ConditionEffect.NOTE


@pytest.fixture
def service(store: SqliteStore) -> ExplainService:
    """Return the service with default settings."""
    return ExplainService(Settings(), store)


def refused(**changes: Any) -> RefusalIncrement:
    """Return a refused login."""
    values: dict[str, Any] = {
        "stage": RefusalStage.CONNECT,
        "reason": RefusalReason.UNKNOWN_KEY,
        "count": 1,
        "first_at": 1_000,
        "last_at": 2_000,
        "listener": RefusalListener.MQTT,
        "address": "192.0.2.1",
        "claimant": f"claims:{sorted(changes.items())}",
    }
    return RefusalIncrement(**{**values, **changes})


def texts(found: ExplainAnswer, effect: ConditionEffect) -> list[str]:
    """Return the conditions with an effect."""
    return [each.text for each in found.conditions if each.effect is effect]


@pytest.mark.parametrize("what", ["SN-unknown", "0" * 24, "0" * 32, "192.0.2.9", "2001:db8::1", "-x", "x" * 1_024])
def test_explain_unknown(service: ExplainService, what: str) -> None:
    """Whatever it looks like, it isn't known, and that is said."""
    found = service.explain(what)
    assert (found.is_known, found.events) == (False, [])
    assert not texts(found, LETS_IN)


@pytest.mark.parametrize("what", ["", "x" * 1_025])
def test_explain_nothing(service: ExplainService, what: str) -> None:
    """Nothing and too much are refused."""
    with pytest.raises(InvalidRequestError):
        service.explain(what)


@pytest.mark.parametrize("serial", ["SN-1", "a" * 24, "A" * 24, "0" * 32, "192.0.2.9", "-1"])
def test_explain_listed(service: ExplainService, store: SqliteStore, serial: str) -> None:
    """A listed serial that nothing has registered with would get in, whatever it looks like."""
    store.add_serials([serial], actor="cli")
    found = service.explain(serial)
    assert found.is_known
    assert texts(found, LETS_IN) == ["The serial is on the allow-list, so it may register."]
    assert texts(found, KEEPS_OUT) == []


def test_explain_not_listed(service: ExplainService) -> None:
    """The command to list it can be pasted, whatever the serial is."""
    (keeps_out,) = [each for each in service.explain("-a b").conditions if each.effect is KEEPS_OUT]
    assert keeps_out.command == "fleetkey serials add -- '-a b'"


@pytest.mark.parametrize("what", ["0" * 24, "0" * 32, "ab" * 32, "192.0.2.9:1883", "192.0.2.9"])
def test_explain_no_serial(service: ExplainService, what: str) -> None:
    """What is rather an id, a key, a secret or an address isn't proposed for the allow-list."""
    assert not any(each.command for each in service.explain(what).conditions)


def test_explain_secret(service: ExplainService) -> None:
    """A secret that somebody asks about isn't repeated."""
    assert "ab" * 32 not in repr(service.explain("ab" * 32))


@pytest.mark.parametrize(
    ("registration", "effect", "text"),
    [
        ({"verifiers": ["pattern"], "pattern": {"serials": ["SN-[0-9]+"]}}, LETS_IN, "matches a pattern"),
        ({"verifiers": ["pattern"], "pattern": {"serials": ["X-[0-9]+"]}}, KEEPS_OUT, "matches no pattern"),
        ({"verifiers": ["hmac"], "hmac": {"secrets": {"line": "x" * 32}}}, NOTE, "must send the serial's proof"),
        ({"verifiers": ["http"], "http": {"url": "https://h", "secret": "x" * 32}}, NOTE, "Your own API decides"),
        ({"verifiers": ["open"]}, LETS_IN, "Every serial may register"),
        ({"require_approval": True}, NOTE, "waits for approval"),
    ],
)
def test_explain_verifiers(
    store: SqliteStore, registration: dict[str, Any], effect: ConditionEffect, text: str
) -> None:
    """Each verifier in the settings says whether it would let the serial in."""
    service = ExplainService(Settings.model_validate({"registration": registration}), store)
    assert any(text in condition for condition in texts(service.explain("SN-1"), effect))


def test_explain_device(service: ExplainService, store: SqliteStore) -> None:
    """Its records, its entries in the audit log and its connection are in one story, newest first."""
    key, device_id = issue(store, "SN-1")
    now = int(store.now() * 1000)
    store.add_refusals(
        [
            refused(reason=RefusalReason.WRONG_SECRET, key=key, last_at=now + 2_000, count=3),
            refused(stage=RefusalStage.REGISTER, serial="SN-1", reason=RefusalReason.PENDING, last_at=now - 5),
            refused(client_id=device_id, reason=RefusalReason.UNKNOWN_KEY, last_at=now + 3_000),
        ]
    )
    store.record_presence({device_id: Presence(is_online=True, connected_at=now + 1_000, address="192.0.2.7")})
    for what in (device_id, "SN-1", device_id.upper()):
        found = service.explain(what)
        results = [event.result.partition(",")[0] for event in found.events]
        assert results == ["unknown_key", "wrong_secret", "connected", "registered: created", "pending"]
        assert "The device is active." in texts(found, LETS_IN)
    assert [event.result for event in service.explain(device_id, limit=2).events] == ["unknown_key", "wrong_secret"]
    assert found.events[0].who == f"from 192.0.2.1 (mqtt), claimed, not proven: client id {device_id}"


def test_explain_deleted_device(service: ExplainService, store: SqliteStore) -> None:
    """What it was is still told, and what would happen to its serial."""
    key, device_id = issue(store, "SN-1")
    store.delete_device(device_id, actor="cli:somebody")
    found = service.explain(device_id)
    assert found.is_known
    assert found.events[0].result == "by cli:somebody"
    assert texts(found, NOTE) == ["The device was deleted; its serial was SN-1."]
    assert texts(found, KEEPS_OUT) == ["The serial is not on the allow-list, so it can't register."]
    assert any("(device_deleted)" in text for text in texts(service.explain(key), KEEPS_OUT))


def test_explain_keys(store: SqliteStore, clock: FakeClock) -> None:
    """A key that has expired, however it has, lets nobody in; under `deny`, one that works keeps it from another."""
    service = ExplainService(Settings.model_validate({"registration": {"reregistration": "deny"}}), store)
    key, device_id = issue(store, "SN-1")
    (deny,) = [each for each in service.explain(device_id).conditions if "reregistration is deny" in each.text]
    assert deny.command == f"fleetkey keys rotate {device_id} --grace-seconds 0"
    store.expire_device_keys(device_id, grace_seconds=10, actor="cli")
    assert any(text.startswith("The key is active until ") for text in texts(service.explain(key), LETS_IN))
    clock.advance(11)
    found = service.explain(key)
    assert any(text.startswith("The key expired at ") for text in texts(found, KEEPS_OUT))
    assert "It has no working key; it gets one when it registers." in texts(found, KEEPS_OUT)
    assert not any("reregistration is deny" in text for text in texts(found, KEEPS_OUT))


def test_explain_application(service: ExplainService, store: SqliteStore) -> None:
    """Where it may connect from, and what it reaches."""
    key = new_access_key()
    store.create_application_key(
        key=key,
        secret_hash="-",
        name="back end",
        scope=ApplicationScope(publish=("a", "b", "c", "d", "e", "f"), subscribe=()),
        actor="cli",
        sources=("10.0.0.0/8",),
    )
    found = service.explain(key)
    assert found.subject == f"application key {key} (back end)"
    assert texts(found, LETS_IN) == ["The key is active."]
    assert texts(found, NOTE)[0] == "It may connect only from 10.0.0.0/8."
    assert texts(found, NOTE)[2:] == [
        "It may publish to a, b, c, d, e and 1 more.",
        "It may not subscribe to anything.",
    ]


def test_explain_application_by_tag(service: ExplainService, store: SqliteStore) -> None:
    """One filter for all devices that it reaches is named, also while it reaches none."""
    key = new_access_key()
    store.create_application_key(
        key=key, secret_hash="-", name="north", scope=ApplicationScope(tags=(("site", "north"),)), actor="cli"
    )
    said = "With one filter, it hears all devices that it reaches (now {}): devices/+/#."
    assert said.format(0) in texts(service.explain(key), NOTE)
    _, device_id = issue(store, "SN-north")
    store.tag_device(device_id, {"site": "north"}, actor="cli")
    assert said.format(1) in texts(service.explain(key), NOTE)


@pytest.mark.parametrize(
    ("claim", "what"),
    [
        ({"client_id": "pump"}, "pump"),
        ({"serial": "SN-9", "stage": RefusalStage.REGISTER}, "SN-9"),
        ({"key": "0" * 32}, "0" * 32),
        ({"address": "192.0.2.77"}, "192.0.2.77"),
        ({"address": "2001:db8::1"}, "2001:0db8::1"),
        ({"client_id": "odd\\x07"}, "odd\x07"),
        ({"client_id": "x" * 127 + "…"}, "x" * 200),
    ],
)
def test_explain_stranger(service: ExplainService, store: SqliteStore, claim: dict[str, Any], what: str) -> None:
    """Whoever is refused is found by what it claimed, as it claimed it."""
    store.add_refusals([refused(**claim), refused(client_id="another", address="192.0.2.2")])
    found = service.explain(what)
    assert found.is_known
    assert [event.result for event in found.events] == ["unknown_key"]


def test_explain_client_id(service: ExplainService, store: SqliteStore) -> None:
    """Of what is only a client id, nothing is said about registration, but whose it was."""
    key, device_id = issue(store, "SN-1")
    store.add_refusals([refused(client_id="pump", key=key, reason=RefusalReason.WRONG_CLIENT_ID)])
    (condition,) = service.explain("pump").conditions
    assert condition.command == f"fleetkey explain {device_id}"


def test_explain_everyone(service: ExplainService, store: SqliteStore) -> None:
    """Everyone's last refusals, sorted by time, even if they were written in another order."""
    assert service.explain().events == []
    store.add_refusals([refused(client_id=name, last_at=at) for name, at in (("a", 10), ("c", 30), ("b", 20))])
    found = service.explain()
    assert [event.refusal and event.refusal.client_id for event in found.events] == ["c", "b", "a"]
    assert (found.what, found.conditions) == (None, [])
    assert len(service.explain(limit=2).events) == 2
