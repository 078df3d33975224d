"""Viewing, creating and revoking access keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetkey.access import (
    AllowedNetworkError,
    TemplateError,
    TopicScope,
    hash_secret,
    is_shared,
    new_secret,
    parse_networks,
)
from fleetkey.config.labels import LabelError, check_labels
from fleetkey.management.errors import InvalidRequestError
from fleetkey.management.pages import (
    Batch,
    EncodedPage,
    PositionList,
    check_limit,
    fill_page,
    parse_position,
    position_cursor,
)
from fleetkey.management.schemas import MAX_GRACE_SECONDS, KeyAnswer, RotationAnswer
from fleetkey.registry import new_access_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from fleetkey.access import Secret
    from fleetkey.config import MqttSettings
    from fleetkey.management.filters import KeyFilter
    from fleetkey.registry import AccessKey, ApplicationScope, Device
    from fleetkey.registry.store import DeviceLookup, KeyChanges, KeyLookup

    class KeyStore(KeyLookup, KeyChanges, DeviceLookup, Protocol):
        """The parts of the registry that the service uses."""


__all__ = ["ApplicationKeyRequest", "CreatedKey", "KeyService", "grace_of"]

MAX_KEY_NAME_CHARACTERS = 128
MAX_KEY_DESCRIPTION_CHARACTERS = 1024
MAX_SCOPE_TOPICS = 1000
"""Maximum number of additional topics of an application key, for each of publish and subscribe."""
MAX_SCOPE_IDS = 10_000
"""Maximum number of device ids of an application key; larger groups are selected by a tag."""
SHOWN_CHARACTERS = 64
"""How much of a topic is shown in an error."""
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationKeyRequest:
    """A key for a back end.

    Args:
        name: what it is for.
        scope: the devices and topics it may access; must not be empty.
        description: further details.
        sources: addresses and networks from which it may connect; empty = anywhere.
        expires_at: when it expires, in milliseconds since 1970; None = never.
    """

    name: str
    scope: ApplicationScope
    description: str = ""
    sources: tuple[str, ...] = ()
    expires_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedKey:
    """A new key. Its secret exists in plain text only here."""

    key: KeyAnswer
    secret: Secret


class KeyService:
    """Lists, creates and revokes keys. Every method blocks; every change is audited in the same transaction.

    Every method may raise `NotFoundError`, `InvalidRequestError` and `StoreError`.
    """

    def __init__(self, store: KeyStore, *, bcrypt_rounds: int, grace_seconds: int, limits: MqttSettings) -> None:
        self._store = store
        self._limits = limits
        self._bcrypt_rounds = bcrypt_rounds
        self._grace_seconds = grace_seconds

    def get(self, key: str) -> KeyAnswer:
        """Return one key."""
        return KeyAnswer.of(self._store.get_key(key))

    def page(self, wanted: KeyFilter, *, cursor: str | None = None, limit: int = 100) -> EncodedPage[KeyAnswer]:
        """Return a page of keys, oldest first, continuing from the cursor of an earlier page."""
        check_limit(limit)

        def read(after: int, count: int) -> Batch[tuple[int, AccessKey], int]:
            found = self._store.list_keys(
                after=after,
                limit=count,
                device_id=wanted.device_id,
                kind=wanted.kind,
                include_retired=wanted.include_retired,
            )
            return Batch(items=found, reached=found[-1][0] if len(found) == count else None)

        return fill_page(
            read,
            start=parse_position(PositionList.KEYS, cursor),
            limit=limit,
            show=lambda found: KeyAnswer.of(found[1]),
            position=lambda found: found[0],
            cursor=lambda position: position_cursor(PositionList.KEYS, position),
        )

    def iterate(self, wanted: KeyFilter) -> Iterator[KeyAnswer]:
        """Yield all keys that match, oldest first, in bounded memory."""
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
        """Create a key for a back end.

        Args:
            request: the key's name, scope and limits.
            actor: who creates it.
            hand_over: called with key and secret before the key is stored; if it raises, no key is created. For
                callers that must save the secret first.
        """
        check_application_key(request)
        self._check_limits(request.scope)
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

    def _check_limits(self, scope: ApplicationScope) -> None:
        """Refuse topics that the broker would refuse whatever the scope, so that nobody finds out only then."""
        most_bytes, most_levels = self._limits.max_topic_bytes, self._limits.max_topic_levels
        for field, topics in (("publish", scope.publish), ("subscribe", scope.subscribe)):
            for topic in topics:
                size, levels = len(topic.encode()), topic.count("/") + 1
                if size > most_bytes:
                    reason = f"{size} bytes; the broker allows {most_bytes} ([mqtt] max_topic_bytes)"
                elif levels > most_levels:
                    reason = f"{levels} levels; the broker allows {most_levels} ([mqtt] max_topic_levels)"
                else:
                    continue
                raise InvalidRequestError(f"scope.{field}", f"the topic {topic[:SHOWN_CHARACTERS]!r} has {reason}")

    def revoke(self, key: str, *, actor: str) -> KeyAnswer:
        """Revoke a key for good and disconnect the clients that use it, within a second."""
        return KeyAnswer.of(self._store.revoke_key(key, actor=actor))

    def rotate(self, device_id: str, *, grace_seconds: int | None = None, actor: str) -> RotationAnswer:
        """Expire a device's keys after a grace period, so that it registers again, even under `deny`.

        Without `grace_seconds`, the device's profile applies, or else the settings.
        """
        grace = grace_of(grace_seconds, self._store.get_device(device_id), self._grace_seconds)
        ending = self._store.expire_device_keys(device_id, grace_seconds=grace, actor=actor)
        return RotationAnswer(
            device_id=device_id, keys=ending.keys, ending_sooner=ending.ending_sooner, grace_seconds=grace
        )


def grace_of(asked: int | None, device: Device, of_settings: int) -> int:
    """Return the requested grace period, or else the profile's, or else the settings'.

    Raises:
        InvalidRequestError: it is negative or over `MAX_GRACE_SECONDS`.
    """
    grace = next(seconds for seconds in (asked, device.policy.grace_seconds, of_settings) if seconds is not None)
    if not 0 <= grace <= MAX_GRACE_SECONDS:
        raise InvalidRequestError("grace_seconds", f"a grace period must be 0 to {MAX_GRACE_SECONDS} seconds")
    return grace


def check_application_key(request: ApplicationKeyRequest) -> None:
    """Refuse an invalid key, or one with an empty scope. Raises `InvalidRequestError`."""
    name, scope = request.name, request.scope
    if not name.strip() or not name.isprintable() or len(name) > MAX_KEY_NAME_CHARACTERS:
        reason = f"give the application a name of 1 to {MAX_KEY_NAME_CHARACTERS} printable characters"
        raise InvalidRequestError("name", reason)
    if not all(character.isprintable() or character == "\n" for character in request.description):
        raise InvalidRequestError("description", "a description may contain only printable characters and line breaks")
    if len(request.description) > MAX_KEY_DESCRIPTION_CHARACTERS:
        reason = f"a description must be at most {MAX_KEY_DESCRIPTION_CHARACTERS} characters"
        raise InvalidRequestError("description", reason)
    if not (scope.all_devices or scope.device_ids or scope.tags or scope.publish or scope.subscribe):
        reason = (
            "give the key something to access: all devices, some by id or tag, or topics to publish or subscribe to"
        )
        raise InvalidRequestError("scope", reason)
    if scope.all_devices and (scope.device_ids or scope.tags):
        reason = "all devices already includes every device; leave out ids and tags"
        raise InvalidRequestError("scope.all_devices", reason)
    if len(scope.device_ids) > MAX_SCOPE_IDS:
        reason = f"a key may name at most {MAX_SCOPE_IDS} devices; give them a tag and use that"
        raise InvalidRequestError("scope.device_ids", reason)
    _check_tags(scope)
    _check_topics(scope)


def _check_tags(scope: ApplicationScope) -> None:
    if len(dict(scope.tags)) < len(set(scope.tags)):
        reason = "a tag is given two values, and all tags must match, so no device would"
        raise InvalidRequestError("scope.tags", reason)
    if any(not value for _, value in scope.tags):
        raise InvalidRequestError("scope.tags", "a tag needs a value")
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
        raise InvalidRequestError("scope.publish", "publishing to topics that begin with $ is never allowed")
    # A shared subscription is granted where its filter is. `$share` alone is refused as well.
    if any(is_shared(f"{topic}/") for topic in scope.subscribe):
        reason = "shared subscriptions ($share/…) need no scope of their own; name the topics without $share and group"
        raise InvalidRequestError("scope.subscribe", reason)


def _sources(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return parse_networks(texts)
    except AllowedNetworkError as error:
        raise InvalidRequestError("sources", str(error)) from None
