"""Registration, independent of HTTP: who may register, and what they are issued."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from fleetkey.access import (
    OverloadedError,
    RateLimiter,
    RefusalLog,
    RefusalRecorder,
    RefusalTiming,
    TopicTemplates,
    UnsafeValueError,
    WorkerPool,
    address_bucket,
    hash_secret,
    new_secret,
)
from fleetkey.config.topic_tags import missing_tags_text
from fleetkey.registration.grant import Grant, Profiles, merge
from fleetkey.registration.outcomes import Issued, Limited, Malformed, NotAllowed, Outcome, Pending, Unavailable
from fleetkey.registration.refusal_audit import RefusalAudit
from fleetkey.registration.verifiers import (
    Claim,
    HttpVerifier,
    Rejected,
    Undecided,
    Verifier,
)
from fleetkey.registry import (
    AuditEntry,
    InvalidSerialError,
    IssueDenied,
    IssuePending,
    IssueRequest,
    KeyIssued,
    NotFoundError,
    RefusalListener,
    RefusalReason,
    RefusalStage,
    Reregistration,
    StoreError,
    is_device_id,
    new_access_key,
    parse_serial,
    redacted,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from fleetkey.config import ProfileSettings, RegistrationSettings
    from fleetkey.registry.store import AuditWriter, DeviceIssuing, DeviceLookup

    class RegistrarStore(DeviceIssuing, DeviceLookup, AuditWriter, Protocol):
        """The parts of the registry that the registrar uses."""


__all__ = ["Registrar"]

log = structlog.get_logger(__name__)

MAX_DEVICE_REFUSALS = 20
"""How many refusals of one device per hour get their own audit entry; the others are summarized once a minute."""


class Registrar:
    """Decides registrations. Verifiers say what may be issued; only the registrar issues it."""

    def __init__(
        self,
        *,
        store: RegistrarStore,
        pool: WorkerPool,
        verifiers: Sequence[Verifier],
        templates: TopicTemplates,
        settings: RegistrationSettings,
        bcrypt_rounds: int,
        profiles: Mapping[str, ProfileSettings] | None = None,
        recorder: RefusalRecorder | None = None,
        listener: RefusalListener = RefusalListener.HTTP,
    ) -> None:
        self._store = store
        self._pool = pool
        self._verifiers = tuple(verifiers)
        self._templates = templates
        self._settings = settings
        self._bcrypt_rounds = bcrypt_rounds
        self._profiles = Profiles(profiles or {})
        self._addresses = RateLimiter(
            limit=settings.max_per_address_per_minute, window_seconds=60, max_tracked=settings.max_tracked
        )
        self._serials = RateLimiter(
            limit=settings.max_per_serial_per_hour, window_seconds=3600, max_tracked=settings.max_tracked
        )
        self._proven = RateLimiter(
            limit=settings.max_per_serial_per_hour, window_seconds=3600, max_tracked=settings.max_tracked
        )
        self.refusals = RefusalAudit(store.record_all)
        """Records refusals in the audit log; `close` stops it."""
        self.refusal_log = RefusalLog()
        """Logs refusals, within a budget; `close` ends it."""
        self._recorder = recorder or RefusalRecorder()
        self._listener = listener
        self._refusal_timing = RefusalTiming()
        self.counts: Counter[str] = Counter()
        """Registrations by outcome: `issued`, `pending`, or the reason for refusal."""
        # Rate-limited requests are audited at most once a minute for each source, so that a flood can't fill the disk.
        self._limit_notes = RateLimiter(limit=1, window_seconds=60, max_tracked=settings.max_tracked)
        self._device_refusals = RateLimiter(
            limit=MAX_DEVICE_REFUSALS, window_seconds=3600, max_tracked=settings.max_tracked
        )

    async def admit_address(self, address: str) -> Limited | None:
        """Count an attempt from an address, before its body is read."""
        bucket = address_bucket(address)
        wait = self._addresses.admit(bucket)
        if not wait:
            return None
        self.counts["too_many_from_address"] += 1
        if self._limit_notes.admit(f"address {bucket}"):
            self._record(RefusalReason.TOO_MANY_FROM_ADDRESS, address)
        else:
            await self.note_refusal(RefusalReason.TOO_MANY_FROM_ADDRESS, address=address)
        return Limited(retry_after_seconds=wait)

    async def register(self, serial_text: str, proof: str | None, address: str) -> Outcome:
        """Decide a registration and issue a credential if it is allowed.

        The time at which a refusal is sent does not depend on its reason.
        """
        received_at = self._refusal_timing.now()
        outcome = await self._decide(serial_text, proof, address)
        if isinstance(outcome, NotAllowed):
            await self._refusal_timing.wait(received_at)
        return outcome

    async def _decide(self, serial_text: str, proof: str | None, address: str) -> Outcome:
        try:
            serial = parse_serial(serial_text)
        except InvalidSerialError as error:
            await self.note_refusal(RefusalReason.MALFORMED_SERIAL, address=address)
            return Malformed(detail=str(error))
        # By address as well: someone who can't prove a serial must not use up its attempts.
        mine = f"{address_bucket(address)} {serial}"
        if wait := self._serials.admit(mine):
            return await self._limit_serial(serial, address, wait)
        outcome = await self._decide_serial(serial, proof, address)
        if isinstance(outcome, Pending | Unavailable):
            # The response tells the device to try again, so this must not use up an attempt.
            self._serials.give_back(mine)
        return outcome

    async def _decide_serial(self, serial: str, proof: str | None, address: str) -> Outcome:
        try:
            granted = await self._ask(Claim(serial=serial, proof=proof, address=address))
            if isinstance(granted, Undecided):
                await self.note_refusal(granted.reason, address=address, serial=serial)
                return Unavailable()
            if isinstance(granted, Rejected):
                # Takes as long as for a known serial: response times must not reveal which serials are known.
                await self._pool.run(hash_secret, new_secret(), self._bcrypt_rounds)
                await self.note_refusal(granted.reason, address=address, serial=serial)
                return NotAllowed()
            return await self._issue_limited(serial, address, granted)
        except OverloadedError:
            self.counts[RefusalReason.OVERLOADED] += 1
            self._record(RefusalReason.OVERLOADED, address, serial)
            self.refusal_log.stranger("registration_overloaded", level=logging.WARNING, pending=self._pool.pending)
            return Unavailable()
        except StoreError as error:
            self.counts[RefusalReason.STORE_UNAVAILABLE] += 1
            self._record(RefusalReason.STORE_UNAVAILABLE, address, serial)
            self.refusal_log.stranger("registry_unreadable", level=logging.ERROR, error=str(error))
            return Unavailable()

    async def _limit_serial(self, serial: str, address: str, wait: float, *, is_proven: bool = False) -> Limited:
        self.counts["too_many_for_serial"] += 1
        # Proven devices count separately, so that a stranger naming a serial uses up none of its device's attempts.
        reason = RefusalReason.TOO_MANY_FOR_SERIAL
        if self._limit_notes.admit(f"{'device' if is_proven else 'serial'} {serial}"):
            self._record(reason, address, serial, is_proven=is_proven)
        else:
            await self.note_refusal(reason, address=address, serial=serial, by_stranger=not is_proven)
        return Limited(retry_after_seconds=wait)

    async def _issue_limited(self, serial: str, address: str, granted: Grant) -> Outcome:
        if wait := self._proven.admit(serial):
            # The verifiers accepted it, and it has been issued as much as it may have in this time.
            return await self._limit_serial(serial, address, wait, is_proven=True)
        outcome: Outcome | IssueDenied = Unavailable()
        try:
            outcome = await self._pool.run(self._issue, serial, address, granted)
        finally:
            if not isinstance(outcome, Issued):
                # Only issued credentials count: anyone who knows the serial can cause refusals.
                self._proven.give_back(serial)
        if isinstance(outcome, IssueDenied):
            return await self._deny(outcome, address)
        if isinstance(outcome, Pending):
            self._record(RefusalReason.PENDING, address, serial, device_id=outcome.device_id, is_proven=True)
        return outcome

    async def _deny(self, denied: IssueDenied, address: str) -> NotAllowed:
        """Refuse a device of the fleet. Strangers' entries can't displace its audit entry."""
        device, reason = denied.device, denied.reason.value
        self.counts[reason] += 1
        self._record(denied.reason, address, device.serial, device_id=device.device_id, is_proven=True)
        self.refusal_log.proven(
            "registration_refused", device.device_id, reason=reason, device_id=device.device_id, address=address
        )
        entry = AuditEntry(
            actor="device",
            action="register",
            outcome="refused",
            reason=reason,
            address=address,
            serial=device.serial,
            device_id=device.device_id,
        )
        if self._device_refusals.admit(device.device_id):
            self.refusals.count(entry, bound="max_device_refusals")
        else:
            await self.refusals.note(entry)
        return NotAllowed(is_conflict=denied.reason is RefusalReason.ALREADY_REGISTERED)

    async def note_refusal(
        self, reason: RefusalReason, *, address: str, serial: str | None = None, by_stranger: bool = True
    ) -> None:
        """Record and audit a refusal. If that fails, it is logged, and the refusal stands.

        Args:
            reason: why it was refused.
            address: where the request came from.
            serial: the serial in the request.
            by_stranger: the client did not prove to be a device of the fleet.
        """
        self._record(reason, address, serial, is_proven=not by_stranger)
        if not reason.startswith("too_many_"):
            self.counts[reason] += 1
        if by_stranger and serial is not None:
            # It may be a secret in the wrong place.
            serial = redacted(serial)
        if by_stranger or serial is None:
            self.refusal_log.stranger("registration_refused", reason=reason.value, address=address, serial=serial)
        else:
            self.refusal_log.proven("registration_refused", serial, reason=reason.value, address=address, serial=serial)
        entry = AuditEntry(
            actor="device",
            action="register",
            outcome="refused",
            reason=reason.value,
            address=address,
            serial=serial,
            by_stranger=by_stranger,
        )
        await self.refusals.note(entry)

    def _record(
        self,
        reason: RefusalReason,
        address: str,
        serial: str | None = None,
        *,
        device_id: str | None = None,
        is_proven: bool = False,
    ) -> None:
        self._recorder.note(
            RefusalStage.REGISTER,
            reason,
            self._listener,
            address,
            serial=serial,
            device_id=device_id,
            is_proven=is_proven,
        )

    async def close(self) -> None:
        """Release the verifiers' resources."""
        self._refusal_timing.close()
        self.refusal_log.close()
        await self.refusals.close()
        for verifier in self._verifiers:
            if isinstance(verifier, HttpVerifier):
                await verifier.close()

    async def _ask(self, claim: Claim) -> Grant | Rejected | Undecided:
        """Ask every verifier. Return what the device gets, or why it may not register."""
        granted = Grant()
        for verifier in self._verifiers:
            verdict = await verifier.verify(claim)
            if isinstance(verdict, Rejected | Undecided):
                return verdict
            granted = merge(granted, verdict)
        if self._profiles.has_patterns:
            whole = await self._pool.run(self._profiles.apply, granted, claim.serial)
        else:
            whole = self._profiles.apply(granted, claim.serial)
        if whole is None:
            log.error("profile_unusable", profile=granted.profile, tags=len(granted.tags))
            return Undecided(RefusalReason.PROFILE_UNUSABLE)
        templates = self._templates.of_policy(whole.policy)
        if is_device_id(claim.serial) and await self._pool.run(self._is_taken, claim.serial):
            # In topics that contain the serial, it could pass for that device.
            return Rejected(RefusalReason.SERIAL_IS_A_DEVICE_ID)
        try:
            templates.for_device(device_id="0" * 24, serial=claim.serial, tags=whole.tags)
        except UnsafeValueError as error:
            if error.placeholder == "serial":
                return Rejected(RefusalReason.SERIAL_UNSAFE_IN_TOPICS)
        return whole

    def _is_taken(self, device_id: str) -> bool:
        """Whether a device has this id; blocks."""
        try:
            self._store.get_device(device_id)
        except NotFoundError:
            return False
        return True

    def _issue(self, serial: str, address: str, granted: Grant) -> Outcome | IssueDenied:
        """Create a credential and commit it; blocks, so it runs in a thread of the pool."""
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
                require_approval=(
                    settings.require_approval if granted.require_approval is None else granted.require_approval
                ),
                key_lifetime_seconds=settings.key_lifetime_seconds,
                address=address,
                name=granted.name,
                profile=granted.profile,
                tags=granted.tags,
                attributes=granted.attributes,
                policy=granted.policy,
                publish=self._templates.publish,
                subscribe=self._templates.subscribe,
                audit_denial=False,
            )
        )
        match result:
            case KeyIssued(device=device, created=created):
                self.counts["issued"] += 1
                log.info("registration_issued", device_id=device.device_id, created=created, address=address)
                try:
                    templates = self._templates.of_policy(device.policy)
                    scope = templates.for_device(device_id=device.device_id, serial=serial, tags=device.tags)
                except UnsafeValueError:
                    # A tag required by the topics is missing: the key will work once the device is tagged.
                    missing = missing_tags_text((*templates.publish, *templates.subscribe), device.tags)
                    log.warning("device_kept_out", device_id=device.device_id, missing_tag=missing)
                    return Issued(device_id=device.device_id, key=key, secret=secret, publish=(), subscribe=())
                return Issued(
                    device_id=device.device_id,
                    key=key,
                    secret=secret,
                    publish=scope.publish,
                    subscribe=scope.subscribe,
                )
            case IssuePending(device=device):
                self.counts["pending"] += 1
                log.info("registration_pending", device_id=device.device_id, address=address)
                return Pending(device_id=device.device_id, retry_after_seconds=settings.approval_retry_seconds)
            case IssueDenied():
                return result
