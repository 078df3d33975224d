"""What the rest of Fleetkey needs from a store. SQLite implements it; others may.

All methods block; callers on an event loop run them in a thread. Every method is safe to call from any thread, and
several processes may use one store. Every change is one transaction together with its rows in the change feed and the
audit; when a method returns, its change survives a power cut.

Errors of every method: `StoreBusyError` (locked for too long; try again) and `StoreUnavailableError` (can't be read or
written; tell the operator).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fleetkey.registry.model import MAX_EXPIRED_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from fleetkey.registry.clock import ClockMark
    from fleetkey.registry.model import (
        AccessKey,
        ApplicationScope,
        AuditEntry,
        AuditFilter,
        AuditPage,
        AuditRecord,
        Change,
        Device,
        DeviceScan,
        DeviceState,
        IssueDenied,
        IssuePending,
        IssueRequest,
        KeyIssued,
        KeyKind,
        KeysEnding,
        ListedSerial,
        Login,
        Presence,
        Role,
        SerialConflict,
        SerialsAdded,
        Token,
        TokenVerifier,
        WebhookState,
    )

__all__ = [
    "AuditLog",
    "ChangeFeed",
    "ChangeWatch",
    "Clock",
    "Devices",
    "Keys",
    "Serials",
    "Store",
    "Tokens",
    "Webhooks",
]


class Serials(Protocol):
    """The allow-list."""

    def add_serials(
        self,
        serials: Iterable[str | ListedSerial | tuple[int, str | ListedSerial]],
        *,
        actor: str,
        on_progress: Callable[[int], None] | None = None,
        check: Callable[[Sequence[SerialConflict]], None] | None = None,
    ) -> SerialsAdded:
        """Add serials, all or none, in bounded memory.

        What an entry says of a serial that is listed already replaces what was said; a bare serial changes nothing.

        Args:
            serials: the entries; all of them may have numbers that grow, such as lines, otherwise they count from 1.
            actor: who adds them.
            on_progress: is told how many were read so far.
            check: is called once, when all are read and none is added, with the first conflicts if there are any;
                what it raises goes through, and none is added. Without it, a conflict is an error.

        Raises:
            InvalidSerialError: one of them can't be a serial; none was added.
            ConflictingSerialError: two of them say different things of one serial; none was added.
        """
        ...

    def has_serial(self, serial: str) -> bool:
        """Whether the serial may register."""
        ...

    def find_serial(self, serial: str) -> ListedSerial | None:
        """Return a listed serial with what its device gets; None if it isn't listed."""
        ...

    def list_serials(self, *, after: str = "", limit: int = 100) -> list[ListedSerial]:
        """Return up to `limit` serials after `after`, in order."""
        ...

    def iter_serials(self) -> Iterator[str]:
        """Yield the serials in order, in bounded memory."""
        ...

    def remove_serial(self, serial: str, *, actor: str) -> None:
        """Take a serial off the list; a device that registered with it stays. Raises `NotFoundError`."""
        ...

    def count_serials(self) -> int:
        """Return how many serials are listed."""
        ...


class Devices(Protocol):
    """The devices."""

    def issue_device_key(self, request: IssueRequest) -> KeyIssued | IssuePending | IssueDenied:
        """Find the serial's device or create it, and issue it a key by the policy: one transaction."""
        ...

    def get_device(self, device_id: str) -> Device:
        """Return one device. Raises `NotFoundError`."""
        ...

    def find_device(self, serial: str) -> Device | None:
        """Return the device of a serial."""
        ...

    def list_devices(
        self,
        *,
        after: str = "",
        limit: int = 100,
        state: DeviceState | None = None,
        tags: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        online: bool | None = None,
    ) -> list[Device]:
        """Return up to `limit` devices with ids after `after`, in order of id; all that is given must match."""
        ...

    def scan_devices(
        self,
        *,
        after: str = "",
        limit: int = 100,
        max_scanned: int,
        state: DeviceState | None = None,
        tags: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        online: bool | None = None,
        matches: Callable[[str], bool] | None = None,
        max_seconds: float | None = None,
    ) -> DeviceScan:
        """Look at up to `max_scanned` devices with ids after `after` and return up to `limit` that match.

        What leads is the rarest of state, tags, attributes and being online; the others are asked for each device that
        it finds. `matches` is asked about the serial. It ends after `max_seconds` as well, but looks at one at least.
        """
        ...

    def set_device_state(self, device_id: str, state: DeviceState, *, actor: str) -> Device:
        """Approve (to active), reject, disable or enable. Raises `NotFoundError`."""
        ...

    def set_device_states(
        self, device_ids: Sequence[str], state: DeviceState, *, expected: Collection[DeviceState], actor: str
    ) -> int:
        """Change the state of those of the devices that are in an expected one: one transaction, so give it few.

        Returns:
            how many were changed.

        Raises:
            NotFoundError: one of them doesn't exist; nothing was changed.
        """
        ...

    def describe_device(
        self,
        device_id: str,
        *,
        name: str | None = None,
        attributes: Mapping[str, str | None] | None = None,
        actor: str,
    ) -> Device:
        """Set a device's name and attributes; None as an attribute's value takes it away.

        Raises:
            NotFoundError: there is no such device.
            TooManyLabelsError: it would have more attributes than a device may have.
        """
        ...

    def tag_device(self, device_id: str, tags: Mapping[str, str | None], *, actor: str) -> Device:
        """Set tags; None takes one away. Raises `NotFoundError` and `TooManyLabelsError`."""
        ...

    def tag_devices(self, device_ids: Sequence[str], tags: Mapping[str, str | None], *, actor: str) -> int:
        """Set tags of devices: one transaction, so give it few; those that are gone are passed over.

        Returns:
            how many hadn't just these already.

        Raises:
            TooManyLabelsError: one of them would have too many; none was changed.
        """
        ...

    def delete_devices(self, device_ids: Sequence[str], *, actor: str) -> int:
        """Forget devices and retire their keys: one transaction, so give it few. Return how many were there."""
        ...

    def delete_device(self, device_id: str, *, actor: str) -> None:
        """Forget a device and retire its keys. Raises `NotFoundError`."""
        ...

    def device_tags(self, device_id: str) -> dict[str, str]:
        """Return a device's tags; empty for an unknown one."""
        ...

    def scope_devices(self, scope: ApplicationScope, *, limit: int) -> list[Device]:
        """Return the devices that a scope names by id or by tags, at most `limit`; not for `all_devices`."""
        ...

    def topic_patterns(self) -> list[str]:
        """Return every topic pattern that a profile ever gave to a device."""
        ...

    def record_presence(self, entries: Mapping[str, Presence]) -> None:
        """Record what is known of devices now; None and empty leave what was known, unknown devices are left out."""
        ...

    def end_presence(self, *, reason: str) -> int:
        """Record that nobody is connected any more, as of when each was last seen; return how many were."""
        ...

    def count_online(self) -> int:
        """Return how many devices are connected."""
        ...

    def count_devices(self) -> int:
        """Return how many devices there are."""
        ...


class Keys(Protocol):
    """The access keys."""

    def find_login(self, key: str) -> Login | None:
        """Return what decides whether a key may connect."""
        ...

    def mark_connected(self, key: str, *, address: str = "") -> bool:
        """Record a key's first connection, from an address, and retire the older ones if it replaces them.

        Returns:
            False if the key stopped being active in the meantime; nothing was changed.
        """
        ...

    def create_application_key(
        self,
        *,
        key: str,
        secret_hash: str,
        name: str,
        scope: ApplicationScope,
        actor: str,
        description: str = "",
        sources: Sequence[str] = (),
        expires_at: int | None = None,
    ) -> AccessKey:
        """Store an application key.

        Args:
            key: the key, 32 hex digits.
            secret_hash: the hash of its secret.
            name: what it is for.
            scope: what it reaches.
            actor: who makes it.
            description: more about it.
            sources: addresses and networks from which it may connect; empty = from anywhere.
            expires_at: when it ends, in milliseconds since 1970; None = never.

        Raises:
            NotFoundError: a device id that doesn't exist.
        """
        ...

    def get_key(self, key: str) -> AccessKey:
        """Return one key. Raises `NotFoundError`."""
        ...

    def list_keys(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        device_id: str | None = None,
        kind: KeyKind | None = None,
        include_retired: bool = False,
    ) -> list[tuple[int, AccessKey]]:
        """Return up to `limit` (position, key) pairs after position `after`, in order of issue."""
        ...

    def revoke_key(self, key: str, *, actor: str) -> AccessKey:
        """Retire a key for good. Revoking a retired one changes nothing. Raises `NotFoundError`."""
        ...

    def expire_device_keys(self, device_id: str, *, grace_seconds: int, actor: str) -> KeysEnding:
        """Let a device's active keys end after `grace_seconds`; it registers again then. Raises `NotFoundError`.

        From now on it may, whatever its re-registration policy, and the new key replaces the older ones. What changes
        nothing, because there is no key that works or all were rotated away and end sooner, is not audited.
        """
        ...

    def expire_keys_of_devices(self, grace_seconds: Mapping[str, int], *, actor: str) -> int:
        """Do the same for devices, each with its own grace period: one transaction, so give it few.

        Those that are gone are passed over. Return for how many it changed anything.
        """
        ...

    def retire_expired_keys(self, *, limit: int = MAX_EXPIRED_AT_ONCE) -> int:
        """Retire keys whose time is over, at most `limit`; return how many."""
        ...

    def count_keys(self) -> int:
        """Return how many keys were ever issued."""
        ...


class ChangeWatch(Protocol):
    """A cheap question: was anything committed since the last time?"""

    def has_news(self) -> bool:
        """Whether anything was committed since the last call, by any process."""
        ...

    def close(self) -> None:
        """Let go of what the watch holds."""
        ...


class ChangeFeed(Protocol):
    """Every change to a device or a key, in order of commit."""

    def changes_after(self, seq: int, *, limit: int = 1000) -> Sequence[Change]:
        """Return up to `limit` changes after position `seq`."""
        ...

    def change_bounds(self) -> tuple[int, int]:
        """Return the positions of the oldest kept and the newest change; (0, 0) when there is none."""
        ...

    def watch(self, *, waits: bool = True) -> ChangeWatch:
        """Begin to watch for commits; one that doesn't wait raises `StoreBusyError` where another would."""
        ...

    def on_committed(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, in the committing thread, after each commit of this process; returns how to stop that."""
        ...


class AuditLog(Protocol):
    """Append-only: who did what, and how it ended.

    Positions grow and are never given twice, but not every one is there: entries of strangers are dropped by
    themselves, so gaps may be anywhere.
    """

    def record(self, entry: AuditEntry) -> None:
        """Append one entry."""
        ...

    def record_all(self, entries: Iterable[AuditEntry]) -> None:
        """Append entries in their order, all or none."""
        ...

    def list_audit(self, *, after: int = 0, limit: int = 100) -> list[AuditRecord]:
        """Return up to `limit` entries after position `after`, oldest first."""
        ...

    def find_audit(self, wanted: AuditFilter, *, after: int = 0, limit: int = 100) -> AuditPage:
        """Return up to `limit` entries after a position that match, oldest first; looks at a bounded number."""
        ...

    def last_audit(self, limit: int, wanted: AuditFilter | None = None) -> list[AuditRecord]:
        """Return the newest `limit` entries that match, oldest first."""
        ...

    def deleted_serial(self, device_id: str) -> str | None:
        """Return the serial of a device that was deleted; None if the audit doesn't have it, or not any more."""
        ...

    def audit_bounds(self) -> tuple[int, int]:
        """Return the positions of the oldest kept and the newest entry; (0, 0) when there is none."""
        ...

    def drop_old_audit(self, *, days: int) -> int:
        """Drop some entries that are older than so many days; return how many: call again until it is 0."""
        ...

    def scan_audit(
        self, wanted: AuditFilter, *, after: int | None = None, before: int | None = None, limit: int, max_scanned: int
    ) -> tuple[list[AuditRecord], int | None]:
        """Look at up to `max_scanned` entries and return up to `limit` that match, and the last position looked at.

        With `after`, forward from there; else back from `before`, or from the newest. What lies behind the newest is
        taken for it. The position is None if there is nothing behind it; forward never, since more may come.
        """
        ...


class Webhooks(Protocol):
    """How far each webhook is in the change feed."""

    def begin_webhook(self, name: str) -> WebhookState:
        """Return where a webhook is; one that is new begins behind the newest change, and that is stored."""
        ...

    def save_webhook(self, state: WebhookState) -> None:
        """Store where a webhook is; never audited, and no change of its own."""
        ...

    def webhook_states(self) -> list[WebhookState]:
        """Return all webhooks that ever began, in order of name."""
        ...


class Tokens(Protocol):
    """The bearer tokens of the admin API."""

    def create_token(
        self, *, token_id: str, token_hash: bytes, name: str, role: Role, expires_at: int | None, actor: str
    ) -> Token:
        """Store a token; `token_hash` is the hash of its secret part."""
        ...

    def find_token(self, token_id: str) -> TokenVerifier | None:
        """Return what decides whether a token is good; None for an unknown one."""
        ...

    def list_tokens(self, *, after: int = 0, limit: int = 100, include_ended: bool = False) -> list[tuple[int, Token]]:
        """Return up to `limit` (position, token) pairs after position `after`, in order of making.

        Without `include_ended`, those that are revoked or expired are left out.
        """
        ...

    def revoke_token(self, token_id: str, *, actor: str) -> Token:
        """End a token for good, at once. Revoking a revoked one changes nothing. Raises `NotFoundError`."""
        ...


class Clock(Protocol):
    """The time: one for all that ends."""

    def now(self) -> float:
        """Return the time by which everything in the store ends, in seconds since 1970."""
        ...

    def save_clock(self, mark: ClockMark) -> None:
        """Store how far a server's clock has come; never audited, and no change of its own."""
        ...

    def clock_mark(self) -> ClockMark | None:
        """Return what was stored last; None if nothing was."""
        ...

    def recorded_at(self) -> float | None:
        """Return when anything was recorded last, in seconds since 1970; None if nothing was."""
        ...


class Store(Serials, Devices, Keys, Tokens, ChangeFeed, AuditLog, Webhooks, Clock, Protocol):
    """The whole registry."""

    def ping(self) -> None:
        """Read something; raises `StoreUnavailableError` when that fails."""
        ...

    def close(self) -> None:
        """Let go of files and locks; further calls raise `StoreUnavailableError`."""
        ...
