"""What operators do to keys: scope, end, sources, rotation, and Losant's documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from fleetkey.access import verify_secret
from fleetkey.management import (
    ApplicationKeyRequest,
    InvalidRequestError,
    KeyFilter,
    Management,
    losant_answer,
    parse_expiry,
    parse_losant_key,
)
from fleetkey.registry import ApplicationScope, DevicePolicy, KeyKind, NotFoundError, SqliteStore
from tests.unit.registry.store_rig import FakeClock, JournalReader, issue

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ALL = ApplicationScope(all_devices=True)


def _request(scope: ApplicationScope = ALL, name: str = "x", **more: Any) -> ApplicationKeyRequest:
    return ApplicationKeyRequest(name=name, scope=scope, **more)


def test_create_application(management: Management, store: SqliteStore) -> None:
    """The key is as asked for, its secret verifies, and who made it is audited."""
    request = _request(sources=(" 10.1.2.3", "2001:db8::/32"), expires_at=1_800_000_000_000, description="more")
    created = management.keys.create_application(request, actor="anna")
    assert created.key.sources == ["10.1.2.3/32", "2001:db8::/32"]
    assert (created.key.expires_at, created.key.description) == ("2027-01-15T08:00:00.000Z", "more")
    login = store.find_login(created.key.key)
    assert login is not None
    assert verify_secret(created.secret.reveal().encode(), login.secret_hash)
    assert created.secret.reveal() not in repr(created)
    entry = store.last_audit(1)[0]
    assert (entry.actor, entry.action, entry.key) == ("anna", "application_key_created", created.key.key)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        pytest.param(_request(name=" "), "name", id="no_name"),
        pytest.param(_request(name="x" * 129), "name", id="long_name"),
        pytest.param(_request(description="x" * 1025), "description", id="long_description"),
        pytest.param(_request(ApplicationScope()), "scope", id="reaches_nothing"),
        pytest.param(_request(ApplicationScope(all_devices=True, tags=(("a", "b"),))), "scope.all_devices", id="both"),
        pytest.param(_request(ApplicationScope(tags=(("a", ""),))), "scope.tags", id="empty_tag"),
        pytest.param(_request(ApplicationScope(tags=(("a", "1"), ("a", "2")))), "scope.tags", id="tag_twice"),
        pytest.param(_request(ApplicationScope(publish=("a/#/b",))), "scope.publish", id="bad_publish"),
        pytest.param(_request(ApplicationScope(publish=("$SYS/x",))), "scope.publish", id="dollar"),
        pytest.param(_request(ApplicationScope(subscribe=("a+",))), "scope.subscribe", id="bad_subscribe"),
        pytest.param(_request(ApplicationScope(subscribe=("a",) * 1001)), "scope.subscribe", id="many_topics"),
        pytest.param(_request(ApplicationScope(device_ids=("a",) * 10_001)), "scope.device_ids", id="many_ids"),
        pytest.param(_request(sources=("10.0.0.1/8",)), "sources", id="bits_behind_the_prefix"),
        pytest.param(_request(sources=("localhost",)), "sources", id="a_name"),
        pytest.param(_request(sources=tuple(f"10.0.0.{n}" for n in range(101))), "sources", id="many_sources"),
    ],
)
def test_create_application_refused(
    management: Management, store: SqliteStore, request_: ApplicationKeyRequest, field: str
) -> None:
    """What can't be a key is refused with the field, before anything is made or written down."""
    handed: list[str] = []
    with pytest.raises(InvalidRequestError) as caught:
        management.keys.create_application(request_, actor="anna", hand_over=lambda key, _: handed.append(key))
    assert caught.value.field == field
    assert handed == []
    assert store.count_keys() == 0


def test_create_application_hand_over_fails(management: Management, store: SqliteStore) -> None:
    """When the secret can't be written down, there is no key."""

    def fail(*_: object) -> None:
        raise FileExistsError

    with pytest.raises(FileExistsError):
        management.keys.create_application(_request(), actor="anna", hand_over=fail)
    assert store.count_keys() == 0


def test_page(management: Management, store: SqliteStore) -> None:
    """Pages go through the keys in order of issue with a cursor; another text is no cursor."""
    keys = [issue(store, f"S{number}")[0] for number in range(5)]
    made = management.keys.create_application(_request(), actor="test").key.key
    first = management.keys.page(KeyFilter(), limit=4)
    rest = management.keys.page(KeyFilter(), cursor=first.next_cursor, limit=4)
    assert [key.key for key in (*first.items, *rest.items)] == [*keys, made]
    assert rest.next_cursor is None
    assert [key.key for key in management.keys.iterate(KeyFilter(kind=KeyKind.APPLICATION))] == [made]
    assert first.next_cursor == "key:4"
    for cursor in (
        "x",
        "-1",
        "4",
        "٣",
        "key:",
        "key:-1",
        "key:٣",
        "key:" + "9" * 19,
        "key:4\n",
        "token:4",
        "audit:4",
        "",
    ):
        with pytest.raises(InvalidRequestError):
            management.keys.page(KeyFilter(), cursor=cursor)


@pytest.mark.parametrize(
    ("asked", "own", "expected"), [(5, 7, 5), (0, 7, 0), (None, 7, 7), (None, 0, 0), (None, None, 86_400)]
)
def test_rotate_grace(
    management: Management, store: SqliteStore, clock: FakeClock, asked: int | None, own: int | None, expected: int
) -> None:
    """The grace period is what is asked for, or the device's own, or the fleet's."""
    key, device_id = issue(store, policy=DevicePolicy(grace_seconds=own))
    rotation = management.keys.rotate(device_id, grace_seconds=asked, actor="anna")
    assert (rotation.keys, rotation.grace_seconds) == (1, expected)
    assert store.get_key(key).expires_at == clock.milliseconds + expected * 1000
    assert store.last_audit(1)[0].action == "keys_rotated"


def test_rotate_refused(management: Management, store: SqliteStore) -> None:
    """An unknown device or an impossible grace period changes nothing."""
    _, device_id = issue(store)
    journal = JournalReader(store)
    with pytest.raises(NotFoundError):
        management.keys.rotate("0" * 24, actor="anna")
    for grace in (-1, 31_536_001):
        with pytest.raises(InvalidRequestError):
            management.keys.rotate(device_id, grace_seconds=grace, actor="anna")
    assert journal.read() == ([], [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", "2026-11-23T12:01:30+00:00"),
        ("15m", "2026-11-23T12:15:00+00:00"),
        ("12h", "2026-11-24T00:00:00+00:00"),
        ("30d", "2026-12-23T12:00:00+00:00"),
        ("4w", "2026-12-21T12:00:00+00:00"),
        ("2027-01-31", "2027-01-31T00:00:00+00:00"),
        ("2027-01-31T10:00", "2027-01-31T10:00:00+00:00"),
        ("2027-01-31T10:00+02:00", "2027-01-31T08:00:00+00:00"),
    ],
)
def test_parse_expiry(text: str, expected: str) -> None:
    """A duration from now, a date, or a date and time; UTC unless it says otherwise."""
    assert parse_expiry(text, now=NOW) == datetime.fromisoformat(expected).timestamp() * 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "d",
        "0d",
        "-5d",
        "1.5h",
        "30D",
        "٣d",
        "99999999999d",
        "999999999w",
        "2026-11-22",
        "31.1.2027",
        "3027-01-01",
    ],
)
def test_parse_expiry_refused(text: str) -> None:
    """Anything else, the past and the far future are refused."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_expiry(text, now=NOW)
    assert caught.value.field == "expires"


def _losant(**fields: Any) -> ApplicationKeyRequest:
    return parse_losant_key(json.dumps({"name": "n", **fields}).encode())[1]


IDS = {"deviceIds": ["a" * 24]}
TAGS = {"deviceTags": [{"key": "site", "value": "north"}, {"key": "line", "value": "3"}]}
TOPICS = {"pubTopics": ["p"], "subTopics": ["s/#"]}


@pytest.mark.parametrize(
    ("fields", "scope"),
    [
        pytest.param({}, ALL, id="all_devices"),
        pytest.param({"filterType": "none", **IDS}, ApplicationScope(device_ids=("a" * 24,)), id="ids"),
        pytest.param(TAGS, ApplicationScope(tags=(("site", "north"), ("line", "3"))), id="tags"),
        pytest.param(
            {**IDS, **TOPICS, "filterType": "whitelist"},
            ApplicationScope(device_ids=("a" * 24,), publish=("p",), subscribe=("s/#",)),
            id="whitelist",
        ),
        pytest.param(
            {**IDS, **TOPICS},
            ApplicationScope(device_ids=("a" * 24,), publish=("p",), subscribe=("s/#",)),
            id="topics_without_filter_type",
        ),
        pytest.param(
            {"filterType": "all"}, ApplicationScope(all_devices=True, publish=("#",), subscribe=("#",)), id="all_topics"
        ),
    ],
)
def test_parse_losant_key(fields: dict[str, Any], scope: ApplicationScope) -> None:
    """Losant's document becomes a scope that reaches what its writer meant, and no more."""
    assert _losant(**fields).scope == scope


@pytest.mark.parametrize(
    ("content", "field"),
    [
        pytest.param(b"", "document", id="empty"),
        pytest.param(b"[]", "document", id="a_list"),
        pytest.param(b'{"name": "n", "deviceIDs": []}', "document", id="misspelt_field"),
        pytest.param(b'{"name": "n", "deviceIds": "a"}', "document", id="ids_are_text"),
        pytest.param(b'{"name": "n", "filterType": "blacklist"}', "filterType", id="blacklist"),
        pytest.param(b'{"name": "n", "filterType": "whitelst"}', "filterType", id="unknown_filter"),
        pytest.param(b'{"name": "n", "filterType": "none", "pubTopics": ["a"]}', "filterType", id="none_and_topics"),
        pytest.param(b'{"name": "n", "filterType": "all", "deviceIds": ["a"]}', "filterType", id="all_for_some"),
        pytest.param(b'{"name": "n", "deviceTags": [{"key": "a"}]}', "deviceTags", id="tag_without_value"),
        pytest.param(b'{"name": "n", "deviceTags": [{"key": "a", "value": ""}]}', "deviceTags", id="empty_value"),
        pytest.param(b" " * (1024 * 1024 + 1), "document", id="too_large"),
    ],
)
def test_parse_losant_key_refused(content: bytes, field: str) -> None:
    """What can't be kept is refused rather than widened."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_losant_key(content)
    assert caught.value.field == field


def test_losant_answer(management: Management) -> None:
    """The answer is the document with key, secret and status."""
    content = json.dumps({"name": "n", "description": "d", **TAGS, **TOPICS}).encode()
    document, request = parse_losant_key(content)
    created = management.keys.create_application(request, actor="anna")
    assert created.key.description == "d"
    assert msgspec.to_builtins(losant_answer(document, created)) == {
        "name": "n",
        "description": "d",
        "deviceIds": [],
        **TAGS,
        "filterType": "whitelist",
        **TOPICS,
        "key": created.key.key,
        "secret": created.secret.reveal(),
        "status": "active",
    }
