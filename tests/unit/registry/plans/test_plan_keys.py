"""What the feed and the audit say when a key connects, is revoked or expires."""

from __future__ import annotations

from fleetkey.registry import AccessKey, AuditEntry, ChangeKind, KeyKind, KeyStatus, RetiredReason
from fleetkey.registry.plans import (
    HeldKey,
    MarkConnected,
    NewChange,
    Plan,
    RetireKeys,
    plan_expiry,
    plan_first_connection,
    plan_revocation,
)

NOW = 5


def _key(retired_at: int | None = None) -> AccessKey:
    return AccessKey(
        key="k",
        kind=KeyKind.DEVICE,
        status=KeyStatus.ACTIVE if retired_at is None else KeyStatus.RETIRED,
        device_id="d",
        name=None,
        scope=None,
        created_at=1,
        first_connected_at=None,
        expires_at=None,
        retired_at=retired_at,
        retired_reason=None,
    )


def test_plan_connection_replaces_older() -> None:
    """The older keys go, expired ones too; the newer one stays; the feed has them before the connection."""
    keys = [HeldKey(key="a", expires_at=1), HeldKey(key="b"), HeldKey(key="c", replaces_older=True), HeldKey(key="d")]
    plan = plan_first_connection("c", keys, device_id="d", serial="S", address="::1", now=NOW)
    assert plan.writes == (
        MarkConnected(key="c", at=NOW),
        RetireKeys(keys=("a", "b"), reason=RetiredReason.REPLACED, at=NOW),
    )
    assert [(change.kind, change.key) for change in plan.changes] == [
        (ChangeKind.KEY_RETIRED, "a"),
        (ChangeKind.KEY_RETIRED, "b"),
        (ChangeKind.KEY_CONNECTED, "c"),
    ]
    assert plan.audit == AuditEntry(
        actor="device",
        action="key_connected",
        outcome="ok",
        reason="replaced=2",
        address="::1",
        serial="S",
        device_id="d",
        key="c",
    )


def test_plan_connection_again() -> None:
    """The moment of a first connection stays."""
    key = HeldKey(key="a", first_connected_at=1)
    plan = plan_first_connection("a", [key], device_id=None, serial=None, address="", now=NOW)
    assert (plan.result, plan.writes) == (True, ())
    assert plan.audit is not None
    assert plan.audit.actor == "application"


def test_plan_revocation() -> None:
    """A key is revoked once: again changes nothing and isn't audited."""
    plan = plan_revocation(_key(), serial="S", actor="anna", now=NOW)
    assert plan.writes == (RetireKeys(keys=("k",), reason=RetiredReason.REVOKED, at=NOW),)
    assert plan.changes == (NewChange(kind=ChangeKind.KEY_RETIRED, device_id="d", key="k"),)
    assert plan.audit == AuditEntry(
        actor="anna", action="key_revoked", outcome="ok", serial="S", device_id="d", key="k"
    )
    assert plan_revocation(_key(retired_at=3), serial="S", actor="anna", now=NOW) == Plan(result=None)


def test_plan_expiry() -> None:
    """The server itself retires what has expired, and says so."""
    plan = plan_expiry("k", device_id="d", serial="S", now=NOW)
    assert plan.writes == (RetireKeys(keys=("k",), reason=RetiredReason.EXPIRED, at=NOW),)
    assert plan.audit == AuditEntry(
        actor="server", action="key_expired", outcome="ok", serial="S", device_id="d", key="k"
    )
