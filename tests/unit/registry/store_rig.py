"""What the tests of any store need: a clock, registrations in one line, and the feed read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fleetkey.registry import IssueRequest, KeyIssued, Reregistration, new_access_key

if TYPE_CHECKING:
    from fleetkey.registry import AccessKey, Store

SECRET_HASH = "$2a$04$" + "a" * 53
GRACE_SECONDS = 3_600
UNBOUNDED = 1_000_000


class FakeClock:
    """Seconds since 1970 that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @property
    def milliseconds(self) -> int:
        """The time as the registry keeps it."""
        return int(self.now * 1000)


class StoreFactory(Protocol):
    """Opens the test's one registry, as often as asked: each call is another user of it."""

    def __call__(
        self,
        *,
        max_audit_rows: int = UNBOUNDED,
        max_stranger_audit_rows: int = UNBOUNDED,
        max_change_rows: int = UNBOUNDED,
        max_refusals: int = UNBOUNDED,
        max_refusals_per_device: int = UNBOUNDED,
        max_stranger_refusals: int = UNBOUNDED,
    ) -> Store:
        """Open it."""
        ...


class Journal(NamedTuple):
    """What the two journals got since some moment."""

    changes: list[str]
    audit: list[str]


class JournalReader:
    """Reads what a store wrote to its change feed and its audit since the last look."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._change = self._audit = 0
        self.read()

    def read(self) -> Journal:
        """Return the kinds and actions since the last call, in order."""
        changes = self._store.changes_after(self._change)
        audit = self._store.list_audit(after=self._audit, limit=1_000)
        self._change = changes[-1].seq if changes else self._change
        self._audit = audit[-1].seq if audit else self._audit
        return Journal([change.kind.value for change in changes], [f"{row.action}:{row.outcome}" for row in audit])


def new_request(serial: str = "S1", **overrides: Any) -> IssueRequest:
    """Return a registration of a serial with a new key, rotating unless told otherwise."""
    values: dict[str, Any] = {
        "serial": serial,
        "key": new_access_key(),
        "secret_hash": SECRET_HASH,
        "reregistration": Reregistration.ROTATE,
        "grace_seconds": GRACE_SECONDS,
        "max_keys": 50,
        "require_approval": False,
    }
    return IssueRequest(**{**values, **overrides})


def issue(store: Store, serial: str = "S1", **overrides: Any) -> tuple[str, str]:
    """Register, and return the new key and the device's id."""
    request = new_request(serial, **overrides)
    outcome = store.issue_device_key(request)
    assert isinstance(outcome, KeyIssued), outcome
    return request.key, outcome.device.device_id


def keys_of(store: Store, device_id: str) -> dict[str, AccessKey]:
    """Return a device's keys, retired ones too, in order of issue."""
    return {key.key: key for _, key in store.list_keys(device_id=device_id, include_retired=True, limit=1_000)}


def active_keys(store: Store, device_id: str) -> list[str]:
    """Return a device's active keys in order of issue."""
    return [key.key for _, key in store.list_keys(device_id=device_id, limit=1_000)]
