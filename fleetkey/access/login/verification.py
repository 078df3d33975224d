"""Verifies a login against the registry. Both the registry and bcrypt block, so it runs in a worker thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetkey.access.decisions.scope import TopicScope
from fleetkey.access.errors import TemplateError, UnsafeValueError
from fleetkey.access.login.claims import check_claims
from fleetkey.access.login.outcome import Refused
from fleetkey.access.protection.allowed_networks import AllowedNetworks
from fleetkey.access.secrets.hashing import hash_secret, is_hash_affordable, is_secret_shape, new_secret, verify_secret
from fleetkey.registry import ApplicationScope, DeviceState, KeyKind, KeyStatus, RefusalReason, is_access_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol

    from fleetkey.access.decisions.templates import TopicTemplates
    from fleetkey.access.login.outcome import ConnectAttempt
    from fleetkey.registry import Device, Login
    from fleetkey.registry.store import Logins, StoreTime

    class LoginStore(Logins, StoreTime, Protocol):
        """What verification needs from a store: keys, devices, and noting a first connection."""


__all__ = ["RescopedApplication", "Verification", "VerifiedLogin"]

STAND_IN_PASSWORD = b"-"
"""Hashed in place of a password that can't be hashed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedLogin:
    """A login that passed every check, with its compiled scope."""

    login: Login
    scope: TopicScope
    allowed_networks: AllowedNetworks
    follows_devices: bool
    """Whether the scope may change with tags: the device's own, or for an application those of any device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RescopedApplication:
    """An application's scope after some devices changed."""

    scope: TopicScope
    patterns: frozenset[str]
    """Those that it no longer has, or didn't have before."""


class Verification:
    """Reads the registry and checks secrets. Every refusal costs one bcrypt, so that none is faster than another.

    Args:
        store: the registry.
        templates: the fleet's topic patterns.
        bcrypt_rounds: cost of the hash that is checked in place of an unknown key's.
        max_scope_devices: the most devices that one application key may reach by id or tag.
        clock: seconds since 1970, for expiry; None uses the registry's.
    """

    def __init__(
        self,
        store: LoginStore,
        templates: TopicTemplates,
        *,
        bcrypt_rounds: int,
        max_scope_devices: int,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._store = store
        self._templates = templates
        self._max_scope_devices = max_scope_devices
        self._clock = clock or store.now
        self._stand_in_hash = hash_secret(new_secret(), bcrypt_rounds)

    def verify(self, attempt: ConnectAttempt) -> VerifiedLogin | Refused:
        """Verify everything about an attempt. Raises `StoreError` when the registry can't be read."""
        password = attempt.password or b""
        key = attempt.username or ""
        login = self._store.find_login(key) if is_access_key(key) else None
        is_hash_usable = login is not None and is_hash_affordable(login.secret_hash)
        has_shape = is_secret_shape(password)
        # Exactly one hash in every case, with stand-ins for what can't be hashed.
        has_matched = verify_secret(
            password if has_shape else STAND_IN_PASSWORD,
            login.secret_hash if login is not None and is_hash_usable else self._stand_in_hash,
        )
        is_secret_right = has_matched and has_shape and is_hash_usable
        if login is None:
            return Refused(RefusalReason.UNKNOWN_KEY if is_access_key(key) else RefusalReason.MALFORMED_CREDENTIALS)
        if not is_secret_right:
            return Refused(RefusalReason.WRONG_SECRET, login.device_id)
        found = self.check(login)
        if isinstance(found, RefusalReason):
            return Refused(found, login.device_id)
        refusal = check_claims(
            attempt, device_id=login.device_id, scope=found.scope, allowed_networks=found.allowed_networks
        )
        if refusal is not None:
            return Refused(refusal, login.device_id)
        if login.first_connected_at is None and not self._store.record_first_connection(key, address=attempt.address):
            return Refused(RefusalReason.KEY_RETIRED, login.device_id)
        return found

    def revalidate(self, key: str) -> VerifiedLogin | RefusalReason:
        """Check a key again, without its secret, after something about it changed. Raises `StoreError`."""
        login = self._store.find_login(key)
        return self.check(login) if login is not None else RefusalReason.UNKNOWN_KEY

    def check(self, login: Login) -> VerifiedLogin | RefusalReason:
        """Check that a key is valid now, whoever holds it, and compile its scope."""
        if login.status is not KeyStatus.ACTIVE:
            return RefusalReason.KEY_RETIRED
        if self.has_expired(login.expires_at):
            return RefusalReason.KEY_EXPIRED
        if login.kind is KeyKind.DEVICE and login.device_state is not DeviceState.ACTIVE:
            return RefusalReason.DEVICE_NOT_ACTIVE
        try:
            return self._resolve_scope(login)
        except (UnsafeValueError, TemplateError):
            return RefusalReason.UNSAFE_SCOPE

    def has_expired(self, expires_at: int | None) -> bool:
        """Return whether a time, in milliseconds since 1970, has come; None never expires."""
        return expires_at is not None and expires_at <= self._clock() * 1000

    def follow_devices(
        self, applications: Sequence[tuple[ApplicationScope | None, TopicScope]], device_ids: Sequence[str]
    ) -> list[RescopedApplication | RefusalReason | None]:
        """Return for each application its scope after changes to these devices; None if they don't change it.

        Reads the changed devices alone, however many an application already reaches. Raises `StoreError`.
        """
        found = self._store.scope_devices(ApplicationScope(device_ids=tuple(device_ids)), limit=len(device_ids))
        devices = {device.device_id: device for device in found}
        patterns = self._templates.of_devices(found)
        return [self._follow(reach, scope, devices, patterns, device_ids) for reach, scope in applications]

    def _follow(
        self,
        reach: ApplicationScope | None,
        scope: TopicScope,
        devices: Mapping[str, Device],
        patterns: Mapping[str, tuple[str, ...]],
        device_ids: Sequence[str],
    ) -> RescopedApplication | RefusalReason | None:
        if reach is None:
            return RefusalReason.UNSAFE_SCOPE
        changed: dict[str, tuple[str, ...] | None] = {}
        for device_id in device_ids:
            device = devices.get(device_id)
            new = patterns[device_id] if device is not None and _reaches(reach, device) else None
            if new != scope.of_devices.get(device_id):
                changed[device_id] = new
        if not changed:
            return None
        rescoped, affected = scope.with_devices(changed)
        if len(rescoped.of_devices) > self._max_scope_devices:
            return RefusalReason.SCOPE_TOO_LARGE
        return RescopedApplication(scope=rescoped, patterns=affected)

    def _resolve_scope(self, login: Login) -> VerifiedLogin | RefusalReason:
        try:
            allowed_networks = AllowedNetworks(login.sources)
        except ValueError:
            # Fail closed: a list that can't be parsed admits nobody.
            return RefusalReason.WRONG_ADDRESS
        if login.device_id is not None and login.serial is not None:
            templates = self._templates.of_policy(login.policy)
            tags = self._store.device_tags(login.device_id) if templates.uses_tags else {}
            scope = templates.for_device(device_id=login.device_id, serial=login.serial, tags=tags)
            return VerifiedLogin(
                login=login, scope=scope, allowed_networks=allowed_networks, follows_devices=templates.uses_tags
            )
        if login.scope is None:
            return RefusalReason.UNSAFE_SCOPE
        reach = login.scope
        is_by_device = bool(reach.device_ids or reach.tags)
        devices: list[Device] = []
        if not reach.all_devices:
            devices = self._store.scope_devices(reach, limit=self._max_scope_devices + 1)
        if len(devices) > self._max_scope_devices:
            return RefusalReason.SCOPE_TOO_LARGE
        of_profiles = self._store.topic_patterns() if reach.all_devices or is_by_device else ()
        return VerifiedLogin(
            login=login,
            scope=self._templates.for_application(reach, devices, of_profiles=of_profiles),
            allowed_networks=allowed_networks,
            follows_devices=is_by_device,
        )


def _reaches(reach: ApplicationScope, device: Device) -> bool:
    """Return whether an application reaches a device, by id or by tags."""
    return device.device_id in reach.device_ids or (
        bool(reach.tags) and all(device.tags.get(name) == value for name, value in reach.tags)
    )
