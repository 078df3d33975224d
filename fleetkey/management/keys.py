"""Access keys as operators see, make and end them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetkey.access import (
    AllowedNetworkError,
    TemplateError,
    TopicScope,
    hash_secret,
    new_secret,
    parse_networks,
)
from fleetkey.config.labels import LabelError, check_labels
from fleetkey.management.errors import InvalidRequestError
from fleetkey.management.pages import Page, PositionList, check_limit, parse_position, position_cursor
from fleetkey.management.schemas import MAX_GRACE_SECONDS, KeyAnswer, RotationAnswer
from fleetkey.registry import new_access_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from fleetkey.access import Secret
    from fleetkey.management.filters import KeyFilter
    from fleetkey.registry import AccessKey, ApplicationScope, Device
    from fleetkey.registry.store import DeviceLookup, KeyChanges, KeyLookup

    class KeyStore(KeyLookup, KeyChanges, DeviceLookup, Protocol):
        """What the service reads and changes."""


__all__ = ["ApplicationKeyRequest", "CreatedKey", "KeyService", "grace_of"]

MAX_KEY_NAME_CHARACTERS = 128
MAX_KEY_DESCRIPTION_CHARACTERS = 1024
MAX_SCOPE_TOPICS = 1000
"""Extra topics of one application key, each way."""
MAX_SCOPE_IDS = 10_000
"""Device ids of one application key; more devices are named by a tag."""
MAX_PAGE_NAMED = 20_000
"""Devices and topics that the keys of one page name, but for the last of them; the page may be short then."""
KEYS_AT_ONCE = 20
"""Keys that are read at once for a page."""
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationKeyRequest:
    """A key for a back end.

    Args:
        name: what it is for.
        scope: what it reaches; at least something.
        description: more about it.
        sources: addresses and networks from which it may connect; empty = from anywhere.
        expires_at: when it ends, in milliseconds since 1970; None = never.
    """

    name: str
    scope: ApplicationScope
    description: str = ""
    sources: tuple[str, ...] = ()
    expires_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedKey:
    """A new key; the only moment at which its secret exists in clear."""

    key: KeyAnswer
    secret: Secret


class KeyService:
    """Lists, makes and ends keys. Every method blocks; every change is audited in its own transaction.

    Errors of every method: `NotFoundError`, `InvalidRequestError` and `StoreError`.
    """

    def __init__(self, store: KeyStore, *, bcrypt_rounds: int, grace_seconds: int) -> None:
        self._store = store
        self._bcrypt_rounds = bcrypt_rounds
        self._grace_seconds = grace_seconds

    def get(self, key: str) -> KeyAnswer:
        """Return one key."""
        return KeyAnswer.of(self._store.get_key(key))

    def page(self, wanted: KeyFilter, *, cursor: str | None = None, limit: int = 100) -> Page[KeyAnswer]:
        """Return a page of keys in order of issue, beginning after a cursor that an earlier page gave."""
        check_limit(limit)
        found: list[KeyAnswer] = []
        position, named = parse_position(PositionList.KEYS, cursor), 0
        while True:
            wanted_now = min(limit - len(found), KEYS_AT_ONCE)
            part = self._store.list_keys(
                after=position,
                limit=wanted_now,
                device_id=wanted.device_id,
                kind=wanted.kind,
                include_retired=wanted.include_retired,
            )
            found += [KeyAnswer.of(key) for _, key in part]
            named += sum(_named(key) for _, key in part)
            position = part[-1][0] if part else position
            if len(part) < wanted_now:
                return Page(items=tuple(found), next_cursor=None)
            if len(found) == limit or named >= MAX_PAGE_NAMED:
                return Page(items=tuple(found), next_cursor=position_cursor(PositionList.KEYS, position))

    def iterate(self, wanted: KeyFilter) -> Iterator[KeyAnswer]:
        """Yield all keys that match, in order of issue, in bounded memory."""
        cursor: str | None = None
        while True:
            page = self.page(wanted, cursor=cursor, limit=PAGE)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def create_application(
        self, request: ApplicationKeyRequest, *, actor: str, hand_over: Callable[[str, Secret], None] | None = None
    ) -> CreatedKey:
        """Make a key for a back end.

        Args:
            request: what for, and what it may.
            actor: who makes it.
            hand_over: called with key and secret before the key is stored; when it raises, no key is made. For who
                must have written the secret down before it counts.
        """
        check_application_key(request)
        sources = _sources(request.sources)
        key, secret = new_access_key(), new_secret()
        secret_hash = hash_secret(secret, self._bcrypt_rounds)
        if hand_over is not None:
            hand_over(key, secret)
        made = self._store.create_application_key(
            key=key,
            secret_hash=secret_hash,
            name=request.name,
            scope=request.scope,
            actor=actor,
            description=request.description,
            sources=sources,
            expires_at=request.expires_at,
        )
        return CreatedKey(key=KeyAnswer.of(made), secret=secret)

    def revoke(self, key: str, *, actor: str) -> KeyAnswer:
        """Retire a key for good and disconnect whoever uses it, within a second."""
        return KeyAnswer.of(self._store.revoke_key(key, actor=actor))

    def rotate(self, device_id: str, *, grace_seconds: int | None = None, actor: str) -> RotationAnswer:
        """Let a device's keys end after a grace period; it is refused then and registers again, also under `deny`.

        Without `grace_seconds`: what the device's profile said, or else the settings.
        """
        grace = grace_of(grace_seconds, self._store.get_device(device_id), self._grace_seconds)
        ending = self._store.expire_device_keys(device_id, grace_seconds=grace, actor=actor)
        return RotationAnswer(
            device_id=device_id, keys=ending.keys, ending_sooner=ending.ending_sooner, grace_seconds=grace
        )


def grace_of(asked: int | None, device: Device, of_settings: int) -> int:
    """Return what is asked for, or what the device's profile said, or what the settings say.

    Raises:
        InvalidRequestError: it is negative, or over `MAX_GRACE_SECONDS`.
    """
    grace = next(seconds for seconds in (asked, device.policy.grace_seconds, of_settings) if seconds is not None)
    if not 0 <= grace <= MAX_GRACE_SECONDS:
        raise InvalidRequestError("grace_seconds", f"a grace period has 0 to {MAX_GRACE_SECONDS} seconds")
    return grace


def _named(key: AccessKey) -> int:
    scope = key.scope
    return 0 if scope is None else len(scope.device_ids) + len(scope.publish) + len(scope.subscribe)


def check_application_key(request: ApplicationKeyRequest) -> None:
    """Refuse a key that reaches nothing, or can't be one. Raises `InvalidRequestError`."""
    name, scope = request.name, request.scope
    if not name.strip() or not name.isprintable() or len(name) > MAX_KEY_NAME_CHARACTERS:
        reason = f"give the application a name of 1 to {MAX_KEY_NAME_CHARACTERS} printable characters"
        raise InvalidRequestError("name", reason)
    if not all(character.isprintable() or character == "\n" for character in request.description):
        raise InvalidRequestError("description", "a description has printable characters and line ends alone")
    if len(request.description) > MAX_KEY_DESCRIPTION_CHARACTERS:
        reason = f"a description has at most {MAX_KEY_DESCRIPTION_CHARACTERS} characters"
        raise InvalidRequestError("description", reason)
    if not (scope.all_devices or scope.device_ids or scope.tags or scope.publish or scope.subscribe):
        reason = "say what the key may reach: all devices, some by id or tag, or topics to publish or subscribe to"
        raise InvalidRequestError("scope", reason)
    if scope.all_devices and (scope.device_ids or scope.tags):
        reason = "all devices are every device already; leave out ids and tags"
        raise InvalidRequestError("scope.all_devices", reason)
    if len(scope.device_ids) > MAX_SCOPE_IDS:
        reason = f"a key names at most {MAX_SCOPE_IDS} devices; give them a tag and name that"
        raise InvalidRequestError("scope.device_ids", reason)
    _check_tags(scope)
    _check_topics(scope)


def _check_tags(scope: ApplicationScope) -> None:
    if len(dict(scope.tags)) < len(set(scope.tags)):
        reason = "one tag has two values here, and all tags must match: no device would"
        raise InvalidRequestError("scope.tags", reason)
    if any(not value for _, value in scope.tags):
        raise InvalidRequestError("scope.tags", "a tag needs a value here")
    try:
        check_labels(dict(scope.tags), "tag")
    except LabelError as error:
        raise InvalidRequestError("scope.tags", str(error)) from None


def _check_topics(scope: ApplicationScope) -> None:
    for field, topics in (("publish", scope.publish), ("subscribe", scope.subscribe)):
        if len(topics) > MAX_SCOPE_TOPICS:
            reason = f"{len(topics)} topics to {field}; at most {MAX_SCOPE_TOPICS} are allowed"
            raise InvalidRequestError(f"scope.{field}", reason)
        try:
            TopicScope(publish=topics, subscribe=())
        except TemplateError as error:
            raise InvalidRequestError(f"scope.{field}", str(error)) from None
    if any(topic.startswith("$") for topic in scope.publish):
        raise InvalidRequestError("scope.publish", "nobody may publish to a topic that begins with $")


def _sources(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return parse_networks(texts)
    except AllowedNetworkError as error:
        raise InvalidRequestError("sources", str(error)) from None
