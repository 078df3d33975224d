"""Registration without HTTP: who may register, and what they are issued."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from fleetkey.access import (
    AttemptLimiter,
    HashPool,
    HashPoolFullError,
    Secret,
    TopicTemplates,
    UnsafeValueError,
    address_bucket,
    hash_secret,
    new_secret,
)
from fleetkey.registration.verifiers import AllowlistVerifier, Claim, OpenVerifier, Rejected, Verifier
from fleetkey.registry import (
    AuditEntry,
    InvalidSerialError,
    IssueDenied,
    IssuePending,
    IssueRequest,
    KeyIssued,
    Reregistration,
    Store,
    StoreError,
    new_access_key,
    parse_serial,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetkey.config import RegistrationSettings, Settings

__all__ = [
    "Issued",
    "Limited",
    "Malformed",
    "NotAllowed",
    "Outcome",
    "Pending",
    "Registrar",
    "Unavailable",
    "build_registrar",
]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A credential was made and committed; the only moment at which its secret exists in clear."""

    device_id: str
    key: str
    secret: Secret
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The device waits for an operator."""

    retry_after_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """The serial can't be one."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAllowed:
    """The serial may not register; why is in the audit. `is_conflict`: it has, and may not again."""

    is_conflict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """Too many attempts."""

    retry_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """The registry or the hash threads can't take it now."""


Outcome = Issued | Pending | Malformed | NotAllowed | Limited | Unavailable


class Registrar:
    """Decides registrations. Verifiers say what may be issued; this alone issues."""

    def __init__(
        self,
        *,
        store: Store,
        pool: HashPool,
        verifiers: Sequence[Verifier],
        templates: TopicTemplates,
        settings: RegistrationSettings,
        bcrypt_rounds: int,
    ) -> None:
        self._store = store
        self._pool = pool
        self._verifiers = tuple(verifiers)
        self._templates = templates
        self._settings = settings
        self._bcrypt_rounds = bcrypt_rounds
        self._addresses = AttemptLimiter(
            limit=settings.max_per_address_per_minute, window_seconds=60, max_tracked=settings.max_tracked
        )
        self._serials = AttemptLimiter(
            limit=settings.max_per_serial_per_hour, window_seconds=3600, max_tracked=settings.max_tracked
        )
        # A refused flood is audited once a minute and source, so that it can't fill the disk.
        self._limit_notes = AttemptLimiter(limit=1, window_seconds=60, max_tracked=settings.max_tracked)

    async def admit_address(self, address: str) -> Limited | None:
        """Count an attempt from an address, before anything of it is read."""
        bucket = address_bucket(address)
        wait = self._addresses.admit(bucket)
        if not wait:
            return None
        if not self._limit_notes.admit(f"address {bucket}"):
            await self.note_refusal("too_many_from_address", address=address)
        return Limited(retry_after_seconds=wait)

    async def register(self, serial_text: str, proof: str | None, address: str) -> Outcome:
        """Decide one registration and issue a credential if it may have one."""
        try:
            serial = parse_serial(serial_text)
        except InvalidSerialError as error:
            await self.note_refusal("malformed_serial", address=address)
            return Malformed(detail=str(error))
        if wait := self._serials.admit(serial):
            if not self._limit_notes.admit(f"serial {serial}"):
                await self.note_refusal("too_many_for_serial", address=address, serial=serial)
            return Limited(retry_after_seconds=wait)
        try:
            reason = await self._rejection(Claim(serial=serial, proof=proof, address=address))
            if reason is not None:
                # As long as for a serial that is known: the time must not tell which ones are.
                await self._pool.run(hash_secret, new_secret(), self._bcrypt_rounds)
                await self.note_refusal(reason, address=address, serial=serial)
                return NotAllowed()
            return await self._pool.run(self._issue, serial, address)
        except HashPoolFullError:
            log.warning("registration_overloaded", pending=self._pool.pending)
            return Unavailable()
        except StoreError as error:
            log.error("registry_unreadable", error=str(error))  # noqa: TRY400 - the message is the whole story
            return Unavailable()

    async def note_refusal(self, reason: str, *, address: str, serial: str | None = None) -> None:
        """Audit a refusal; when even that fails, the log has it and the refusal stands."""
        log.info("registration_refused", reason=reason, address=address)
        entry = AuditEntry(
            actor="device", action="register", outcome="refused", reason=reason, address=address, serial=serial
        )
        try:
            await self._pool.run(self._store.record, entry)
        except (HashPoolFullError, StoreError) as error:
            log.error("audit_failed", error=str(error))  # noqa: TRY400 - the message is the whole story

    async def _rejection(self, claim: Claim) -> str | None:
        """Return why the serial may not register, or None if every verifier accepts it."""
        for verifier in self._verifiers:
            verdict = await verifier.verify(claim)
            if isinstance(verdict, Rejected):
                return f"{verifier.name}:{verdict.reason}"
        try:
            self._templates.for_device(device_id="0" * 24, serial=claim.serial, tags={})
        except UnsafeValueError as error:
            if error.placeholder == "serial":
                return "serial_unsafe_in_topics"
        return None

    def _issue(self, serial: str, address: str) -> Outcome:
        """Make a credential and commit it; blocks, in a thread of the pool."""
        key, secret = new_access_key(), new_secret()
        settings = self._settings
        result = self._store.issue_device_key(
            IssueRequest(
                serial=serial,
                key=key,
                secret_hash=hash_secret(secret, self._bcrypt_rounds),
                reregistration=Reregistration(settings.reregistration),
                grace_seconds=settings.grace_seconds,
                max_keys=settings.max_keys,
                require_approval=settings.require_approval,
                address=address,
            )
        )
        match result:
            case KeyIssued(device=device, created=created):
                log.info("registration_issued", device_id=device.device_id, created=created, address=address)
                try:
                    scope = self._templates.for_device(device_id=device.device_id, serial=serial, tags=device.tags)
                except UnsafeValueError:
                    # A tag that the topics need is missing: the key works as soon as the device is tagged.
                    return Issued(device_id=device.device_id, key=key, secret=secret, publish=(), subscribe=())
                return Issued(
                    device_id=device.device_id,
                    key=key,
                    secret=secret,
                    publish=scope.publish,
                    subscribe=scope.subscribe,
                )
            case IssuePending(device=device):
                log.info("registration_pending", device_id=device.device_id, address=address)
                return Pending(retry_after_seconds=settings.approval_retry_seconds)
            case IssueDenied(device=device, reason=reason):
                log.info("registration_refused", reason=reason, device_id=device.device_id, address=address)
                return NotAllowed(is_conflict=reason == "already_registered")


def build_registrar(settings: Settings, store: Store, pool: HashPool) -> Registrar:
    """Return a registrar with the verifiers that the settings name.

    Raises:
        TemplateError: a topic pattern in the settings can't be used.
    """
    verifiers: list[Verifier] = []
    for name in dict.fromkeys(settings.registration.verifiers):
        if name == "open":
            log.warning("open_registration", meaning="every serial that asks is given a device and credentials")
            verifiers.append(OpenVerifier())
        else:
            verifiers.append(AllowlistVerifier(store, pool))
    return Registrar(
        store=store,
        pool=pool,
        verifiers=verifiers,
        templates=TopicTemplates.from_settings(settings.topics),
        settings=settings.registration,
        bcrypt_rounds=settings.access.bcrypt_rounds,
    )
