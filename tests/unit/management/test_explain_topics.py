"""Whether a topic would be allowed: which pattern decides, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.config import Settings
from fleetkey.management import ExplainService, InvalidRequestError
from fleetkey.management.schemas import TopicAction
from fleetkey.registry import ApplicationScope, DevicePolicy, DeviceState, NotFoundError, SqliteStore, new_access_key
from tests.unit.registry.store_rig import FakeClock, issue

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLISH, SUBSCRIBE, WILL = TopicAction.PUBLISH, TopicAction.SUBSCRIBE, TopicAction.WILL


def explaining(store: SqliteStore, **topics: Any) -> ExplainService:
    """Return the service with settings of `[topics]`."""
    return ExplainService(Settings.model_validate({"topics": topics}), store)


def application(store: SqliteStore, **scope: Any) -> str:
    """Make an application key."""
    key = new_access_key()
    store.create_application_key(key=key, secret_hash="-", name="app", scope=ApplicationScope(**scope), actor="cli")
    return key


@pytest.mark.parametrize(
    ("action", "topic", "pattern"),
    [
        (PUBLISH, "devices/{}/state", "devices/{}/#"),
        (WILL, "devices/{}/gone", "devices/{}/#"),
        (SUBSCRIBE, "devices/{}/+", "devices/{}/#"),
        (PUBLISH, "devices/other/state", None),
        (WILL, "devices/other/gone", None),
        (SUBSCRIBE, "devices/+/state", None),
        (SUBSCRIBE, "#", None),
    ],
)
def test_topic_of_device(store: SqliteStore, action: TopicAction, topic: str, pattern: str | None) -> None:
    """The pattern is filled in, and the template that it is from is named."""
    _, device_id = issue(store)
    found = explaining(store).topic(action, topic.format(device_id), device_id=device_id, key=None)
    assert found.allowed is (pattern is not None)
    assert found.pattern == (None if pattern is None else pattern.format(device_id))
    assert found.patterns == [f"devices/{device_id}/#"]
    assert found.refused is None
    template = "devices/{device_id}/# of " if found.allowed else ""
    assert found.origin == f"{template}[topics] in the settings"


def test_topic_of_profile(store: SqliteStore) -> None:
    """A profile's pattern is the profile's; what it doesn't say is the settings'."""
    policy = DevicePolicy(publish=("up/{serial}",))
    key, device_id = issue(store, "S1", profile="pump", policy=policy)
    service = explaining(store)
    for who in ({"device_id": device_id, "key": None}, {"device_id": None, "key": key}):
        assert service.topic(PUBLISH, "up/S1", **who).origin == "up/{serial} of the profile pump"
        assert "[topics]" in service.topic(SUBSCRIBE, f"devices/{device_id}/#", **who).origin


@pytest.mark.parametrize(
    ("action", "topic", "why"),
    [
        (PUBLISH, "a/+", "no topic"),
        (PUBLISH, "", "no topic"),
        (WILL, "a/#", "no topic"),
        (SUBSCRIBE, "a/#/b", "no topic filter"),
        (SUBSCRIBE, "\0", "no topic filter"),
        (PUBLISH, "\udcff", "no topic"),
        (PUBLISH, "$SYS/x", "begin with $"),
        (PUBLISH, "all/" + "x" * 70_000, "no topic"),
        (PUBLISH, "all/" + "x" * 2_000, "max_topic_bytes"),
        (SUBSCRIBE, "all" + "/x" * 200, "max_topic_levels"),
    ],
)
def test_topic_never_allowed(store: SqliteStore, action: TopicAction, topic: str, why: str) -> None:
    """What is refused whoever asks isn't explained by the patterns."""
    _, device_id = issue(store)
    service = explaining(store, publish=["all/#"], subscribe=["all/#"])
    found = service.topic(action, topic, device_id=device_id, key=None)
    assert not found.allowed
    assert why in found.why


def test_topic_of_application(store: SqliteStore) -> None:
    """Its own topics are told from those of the devices that it reaches; other devices' are none of it."""
    _, north = issue(store, "S1", tags={"site": "north"})
    _, south = issue(store, "S2", tags={"site": "south"})
    key = application(store, tags=(("site", "north"),), subscribe=("alerts/#",))
    service = explaining(store)

    def asked(action: TopicAction, topic: str) -> tuple[bool, str]:
        found = service.topic(action, topic, device_id=None, key=key)
        return found.allowed, found.origin

    assert asked(PUBLISH, f"devices/{north}/x") == (True, "the topics of the devices that the key reaches")
    assert asked(SUBSCRIBE, "alerts/+") == (True, "the key's own topics")
    assert not asked(PUBLISH, f"devices/{south}/x")[0]
    assert not asked(PUBLISH, "alerts/x")[0]


def _disable(store: SqliteStore, device_id: str, key: str) -> None:
    del key
    store.set_device_state(device_id, DeviceState.DISABLED, actor="cli")


def _reject(store: SqliteStore, device_id: str, key: str) -> None:
    del key
    store.set_device_state(device_id, DeviceState.REJECTED, actor="cli")


def _revoke(store: SqliteStore, device_id: str, key: str) -> None:
    del device_id
    store.revoke_key(key, actor="cli")


def _delete(store: SqliteStore, device_id: str, key: str) -> None:
    del key
    store.delete_device(device_id, actor="cli")


@pytest.mark.parametrize(
    ("change", "refused", "command"),
    [
        (_disable, "the device is disabled", "fleetkey devices enable {device_id}"),
        (_reject, "the device was rejected", "fleetkey devices approve {device_id}"),
        (_revoke, "(key_retired)", "fleetkey keys show {key}"),
        (_delete, "the device was deleted", None),
    ],
)
def test_topic_refused(
    store: SqliteStore, change: Callable[[SqliteStore, str, str], None], refused: str, command: str | None
) -> None:
    """Of a key that can't connect at present, that is said as well, with the command that changes it."""
    key, device_id = issue(store)
    change(store, device_id, key)
    found = explaining(store).topic(PUBLISH, f"devices/{device_id}/x", device_id=None, key=key)
    assert refused in (found.refused or "")
    assert found.command == (None if command is None else command.format(device_id=device_id, key=key))


def test_topic_unsafe(store: SqliteStore) -> None:
    """A device without a tag that its topics need has none."""
    _, device_id = issue(store)
    service = explaining(store, publish=["site/{tag:site}/{device_id}"])
    found = service.topic(PUBLISH, "site/x/y", device_id=device_id, key=None)
    assert (found.allowed, found.patterns) == (False, [])
    assert "(unsafe_scope)" in (found.refused or "")
    assert found.refused is not None
    assert found.refused in found.why


def test_topic_unusable_settings(store: SqliteStore) -> None:
    """With a pattern in the settings that can't be used, nobody has a scope; nothing fails."""
    device_key, device_id = issue(store)
    key = application(store, all_devices=True)
    service = explaining(store, publish=["site-{tag:site}"])
    for who in ({"device_id": device_id}, {"key": device_key}, {"key": key}):
        found = service.topic(PUBLISH, "x", **{"device_id": None, "key": None, **who})
        assert not found.allowed
        assert "(unsafe_scope)" in (found.refused or "")
    for what in (device_id, device_key, key):
        assert service.explain(what).is_known


def test_topic_expired_application(store: SqliteStore, clock: FakeClock) -> None:
    """The key expires by the registry's clock."""
    key = new_access_key()
    scope = ApplicationScope(all_devices=True)
    store.create_application_key(
        key=key, secret_hash="-", name="app", scope=scope, actor="cli", expires_at=int((store.now() + 10) * 1000)
    )
    service = explaining(store)
    assert service.topic(PUBLISH, "devices/x/y", device_id=None, key=key).allowed
    clock.advance(11)
    found = service.topic(PUBLISH, "devices/x/y", device_id=None, key=key)
    assert not found.allowed
    assert "(key_expired)" in found.why


def test_topic_of_nobody(store: SqliteStore) -> None:
    """Either a device or a key is named, and it exists."""
    service = explaining(store)
    for device_id, key in ((None, None), ("0" * 24, "0" * 32)):
        with pytest.raises(InvalidRequestError):
            service.topic(PUBLISH, "x", device_id=device_id, key=key)
    for device_id, key in ((None, "0" * 32), ("0" * 24, None)):
        with pytest.raises(NotFoundError):
            service.topic(PUBLISH, "x", device_id=device_id, key=key)


def test_topic_across_devices(store: SqliteStore) -> None:
    """A filter with `+` in place of the devices that a key reaches is allowed, and said to be decided by message."""
    _, device_id = issue(store, "S1")
    store.tag_device(device_id, {"site": "north"}, actor="cli")
    key = application(store, tags=(("site", "north"),))
    service = explaining(store)
    found = service.topic(SUBSCRIBE, "devices/+/state", device_id=None, key=key)
    assert (found.allowed, found.pattern) == (True, "devices/+/#")
    assert "message by message" in found.why
    assert found.patterns == [f"devices/{device_id}/#"]
    own = service.topic(SUBSCRIBE, f"devices/{device_id}/state", device_id=None, key=key)
    assert (own.allowed, own.pattern) == (True, f"devices/{device_id}/#")
    assert "message by message" not in own.why
    for refused in ("+/+/state", "#", "devices/other/state"):
        assert not service.topic(SUBSCRIBE, refused, device_id=None, key=key).allowed
    assert not service.topic(PUBLISH, "devices/other/state", device_id=None, key=key).allowed
