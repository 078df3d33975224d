"""Whether a device or a key may use a topic, and which pattern decides: asked of the same decision that brokers ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetkey.access import (
    Action,
    TemplateError,
    TopicScope,
    TopicTemplates,
    UnsafeValueError,
    Verification,
    VerifiedLogin,
    deciding_pattern,
    is_shared,
    is_topic_filter,
    is_topic_name,
    split_shared,
)
from fleetkey.management.errors import InvalidRequestError
from fleetkey.management.schemas import TopicAction, TopicAnswer
from fleetkey.registry import DeviceState, KeyKind, NotFoundError, RefusalReason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from fleetkey.config import Settings
    from fleetkey.registry import Device, DevicePolicy, Login
    from fleetkey.registry.store import DeviceLookup, Logins, StoreTime

    class TopicStore(Logins, DeviceLookup, StoreTime, Protocol):
        """The parts of the registry that the service uses."""


__all__ = ["TopicExplainer", "TopicSubject", "state_refusal"]

MAX_SHOWN_PATTERNS = 20
STAND_IN_ROUNDS = 4
"""The cost of a hash that is never compared: no secret is verified here."""
STATE_COMMANDS = {
    DeviceState.PENDING: "fleetkey devices approve {device_id}",
    DeviceState.REJECTED: "fleetkey devices approve {device_id}",
    DeviceState.DISABLED: "fleetkey devices enable {device_id}",
}
STATES = {
    DeviceState.PENDING: "the device waits for approval",
    DeviceState.REJECTED: "the device was rejected",
    DeviceState.DISABLED: "the device is disabled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSubject:
    """Whose topics are asked about."""

    device_id: str | None
    key: str | None
    scope: TopicScope | None
    """None if it has none, because it can't be built: then `refused` says why."""
    templates: TopicTemplates | None = None
    """What a device's scope was filled in from, in the same order."""
    own_publish: Sequence[str] = ()
    own_subscribe: Sequence[str] = ()
    """An application key's own lists, as opposed to the topics of devices."""
    policy: DevicePolicy | None = None
    profile: str | None = None
    refused: str | None = None
    command: str | None = None


def state_refusal(device: Device) -> tuple[str | None, str | None]:
    """Return why a device's state keeps it out, and the command that changes that; None twice if it doesn't."""
    if device.state is DeviceState.ACTIVE:
        return None, None
    return STATES[device.state], STATE_COMMANDS[device.state].format(device_id=device.device_id)


class TopicExplainer:
    """Explains decisions about topics. Every method blocks.

    Every method may raise `NotFoundError`, `InvalidRequestError` and `StoreError`. If a pattern in the settings can't
    be used, nobody has a scope.
    """

    def __init__(self, settings: Settings, store: TopicStore) -> None:
        self._settings = settings
        self._store = store

    def explain(self, action: TopicAction, topic: str, *, device_id: str | None, key: str | None) -> TopicAnswer:
        """Say whether a device or a key may publish or subscribe to a topic, or have it as the topic of its will."""
        if (device_id is None) == (key is None):
            raise InvalidRequestError("device_id", "name a device or a key, and not both")
        return self._answer(self.subject(device_id=device_id, key=key), action, topic)

    def subject(self, *, device_id: str | None = None, key: str | None = None) -> TopicSubject:
        """Return a device's or a key's scope, as it is when it connects now."""
        if key is None:
            return self._device(self._store.get_device(device_id or ""))
        login = self._store.find_login(key)
        if login is None:
            raise NotFoundError("key", key)
        if login.kind is KeyKind.DEVICE and login.device_id is not None:
            return self._device_key(login, login.device_id)
        return self._application(login)

    def _templates(self) -> TopicTemplates:
        return TopicTemplates.from_settings(self._settings.topics, self._settings.profiles)

    def _check(self, login: Login) -> VerifiedLogin | RefusalReason:
        """Check a key as at a login with the right secret."""
        try:
            templates = self._templates()
        except TemplateError:
            return RefusalReason.UNSAFE_SCOPE
        verification = Verification(
            self._store,
            templates,
            bcrypt_rounds=STAND_IN_ROUNDS,
            max_scope_devices=self._settings.access.max_scope_devices,
        )
        return verification.check(login)

    def _device(self, device: Device, *, key: str | None = None, refused: RefusalReason | None = None) -> TopicSubject:
        why, command = state_refusal(device)
        if why is None and refused is not None:
            why, command = _shown(refused), f"fleetkey keys show {key}"
        scope = templates = None
        try:
            templates = self._templates().of_policy(device.policy)
            scope = templates.for_device(device_id=device.device_id, serial=device.serial, tags=device.tags)
        except (UnsafeValueError, TemplateError):
            why, command = _shown(RefusalReason.UNSAFE_SCOPE), f"fleetkey devices show {device.device_id}"
        return TopicSubject(
            device_id=device.device_id,
            key=key,
            scope=scope,
            templates=templates,
            policy=device.policy,
            profile=device.profile,
            refused=why,
            command=command,
        )

    def _device_key(self, login: Login, device_id: str) -> TopicSubject:
        found = self._check(login)
        refused = found if isinstance(found, RefusalReason) else None
        devices = self._store.find_devices([device_id])
        if not devices:
            return TopicSubject(
                device_id=device_id, key=login.key, scope=None, refused="the device was deleted, and the key retired"
            )
        return self._device(devices[0], key=login.key, refused=refused)

    def _application(self, login: Login) -> TopicSubject:
        found = self._check(login)
        refused = found if isinstance(found, RefusalReason) else None
        own = login.scope
        return TopicSubject(
            device_id=None,
            key=login.key,
            scope=None if isinstance(found, RefusalReason) else found.scope,
            own_publish=own.publish if own is not None else (),
            own_subscribe=own.subscribe if own is not None else (),
            refused=None if refused is None else _shown(refused),
            command=None if refused is None else f"fleetkey keys show {login.key}",
        )

    def _answer(self, subject: TopicSubject, action: TopicAction, topic: str) -> TopicAnswer:
        is_subscribing = action is TopicAction.SUBSCRIBE
        scope, mqtt_action = subject.scope, Action.SUBSCRIBE if is_subscribing else Action.PUBLISH
        patterns = () if scope is None else tuple(scope.patterns(mqtt_action))
        # A shared subscription is granted exactly when its filter is.
        asked = split_shared(topic)[1] if is_subscribing and is_shared(topic) else topic
        invalid = self._invalid(asked, is_subscribing=is_subscribing)
        pattern = None
        if scope is not None and invalid is None:
            # As the bundled broker does.
            pattern = deciding_pattern(scope, mqtt_action, asked, each_delivery_is_decided=True)
        if scope is None:
            why = f"No: {subject.refused}."
        elif pattern is not None and pattern not in patterns:
            why = (
                f"Yes: the pattern {pattern} has + in place of the key's devices. "
                "What is delivered is decided message by message: only what is in its scope at that moment."
            )
        elif pattern is not None:
            covers = "covers every topic that the filter can match" if is_subscribing else "matches the topic"
            why = f"Yes: the pattern {pattern} {covers}."
        elif invalid is not None:
            why = f"No: {invalid}."
        elif is_subscribing:
            why = "No: no pattern covers every topic that the filter can match."
        else:
            why = "No: no pattern matches the topic."
        if asked != topic and pattern is not None:
            why += " A shared subscription needs MQTT 5."
        return TopicAnswer(
            device_id=subject.device_id,
            key=subject.key,
            action=action,
            topic=topic,
            allowed=pattern is not None,
            pattern=pattern,
            origin=_origin(subject, pattern, is_subscribing=is_subscribing),
            why=why,
            patterns=list(patterns[:MAX_SHOWN_PATTERNS]),
            more_patterns=max(len(patterns) - MAX_SHOWN_PATTERNS, 0),
            refused=subject.refused,
            command=subject.command,
        )

    def _invalid(self, topic: str, *, is_subscribing: bool) -> str | None:
        """Return why a topic or filter is refused whoever uses it, or None."""
        mqtt = self._settings.mqtt
        if is_subscribing and not is_topic_filter(topic):
            return "that is no topic filter: + stands alone in its level, and # is the last one"
        if not is_subscribing and not is_topic_name(topic):
            return "that is no topic: it is empty, or has the wildcards + or #, which only filters may have"
        if not is_subscribing and topic.startswith("$"):
            return "nobody may publish to topics that begin with $"
        if len(topic.encode()) > mqtt.max_topic_bytes:
            return f"it is longer than [mqtt] max_topic_bytes ({mqtt.max_topic_bytes})"
        if topic.count("/") >= mqtt.max_topic_levels:
            return f"it has more levels than [mqtt] max_topic_levels ({mqtt.max_topic_levels})"
        return None


def _shown(reason: RefusalReason) -> str:
    """Return a reason's meaning as part of a sentence, with its word."""
    meaning = reason.meaning.removesuffix(".")
    return f"{meaning[:1].lower()}{meaning[1:]} ({reason.value})"


def _origin(subject: TopicSubject, pattern: str | None, *, is_subscribing: bool) -> str:
    """Say where a pattern comes from, or all of them if none decided."""
    scope, templates = subject.scope, subject.templates
    if templates is None:
        if pattern is None:
            return "the topics of the devices that the key reaches, and the key's own"
        own = subject.own_subscribe if is_subscribing else subject.own_publish
        return "the key's own topics" if pattern in own else "the topics of the devices that the key reaches"
    is_of_profile = bool(subject.policy and (subject.policy.subscribe if is_subscribing else subject.policy.publish))
    where = f"the profile {subject.profile}" if is_of_profile else "[topics] in the settings"
    if pattern is None or scope is None:
        return where
    filled, raw = (scope.subscribe, templates.subscribe) if is_subscribing else (scope.publish, templates.publish)
    template = raw[filled.index(pattern)]
    return where if template == pattern else f"{template} of {where}"
