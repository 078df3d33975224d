"""`fleetkey keys`: keys for applications, and the end of keys."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.access import verify_secret
from tests.support.ledger import the_ledger

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine

NOTHING: dict[str, Any] = {"all_devices": False, "device_ids": [], "tags": {}, "publish": [], "subscribe": []}
SCOPES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "all_devices": (("--all-devices",), {"all_devices": True}),
    "device": (("--device", "{id}"), {"device_ids": ["{id}"]}),
    "tag": (("--tag", "site=north", "--tag", "line=3"), {"tags": {"site": "north", "line": "3"}}),
    "device_or_tag": (("--device", "{id}", "--tag", "a=b"), {"device_ids": ["{id}"], "tags": {"a": "b"}}),
    "publish": (("--publish", "news/all", "--publish", "x/+"), {"publish": ["news/all", "x/+"]}),
    "subscribe": (("--subscribe", "news/#"), {"subscribe": ["news/#"]}),
    "all_and_topics": (
        ("--all-devices", "--publish", "p", "--subscribe", "s"),
        {"all_devices": True, "publish": ["p"], "subscribe": ["s"]},
    ),
}
HEX_64 = re.compile(r"[0-9a-f]{64}")


def _create(fleetkey: CommandLine, *scope: str) -> dict[str, Any]:
    made: dict[str, Any] = fleetkey.json("keys", "create", "--application", "back end", *scope)
    the_ledger().note_secret(made["secret"])
    return made


@pytest.mark.parametrize("name", SCOPES)
def test_create(fleetkey: CommandLine, name: str) -> None:
    """The key has exactly the scope that was asked for, and its secret verifies against what is stored."""
    device_id, _ = fleetkey.device()
    options, scope = SCOPES[name]
    made = _create(fleetkey, *(option.format(id=device_id) for option in options))
    expected = {**NOTHING, **{field: _filled(value, device_id) for field, value in scope.items()}}
    assert made["scope"] == expected
    assert re.fullmatch(r"[0-9a-f]{32}", made["key"])
    assert HEX_64.fullmatch(made["secret"])
    listed = fleetkey.json("keys", "list", "--applications")
    assert [(one["key"], one["name"], one["kind"], one["status"], one["scope"]) for one in listed] == [
        (made["key"], "back end", "application", "active", expected)
    ]
    with fleetkey.store() as store:
        login = store.find_login(made["key"])
    assert login is not None
    assert verify_secret(made["secret"].encode(), login.secret_hash)


def _filled(value: Any, device_id: str) -> Any:
    return [device_id if item == "{id}" else item for item in value] if isinstance(value, list) else value


def test_create_for_people(fleetkey: CommandLine) -> None:
    """The secret is shown, once, and the scope as it is written on the command line."""
    said = fleetkey.text("keys", "create", "--application", "x", "--tag", "site=north", "--tag", "line=3")
    assert re.search(r"^scope +all_devices=no, tags=site=north line=3$", said, re.MULTILINE)
    (secret,) = HEX_64.findall(said)
    the_ledger().note_secret(secret)
    for again in (fleetkey.text("keys", "list"), fleetkey.text("audit"), str(fleetkey.json("keys", "list", "--all"))):
        assert secret not in again


@pytest.mark.parametrize("as_json", [False, True], ids=["for_people", "for_scripts"])
def test_create_save(fleetkey: CommandLine, *, as_json: bool) -> None:
    """The credentials go to a new file that only its owner can read, and no secret is printed."""
    file = fleetkey.folder / "back-end.json"
    words = ("keys", "create", "--application", "x", "--all-devices", "--save", file, "--data-dir", fleetkey.data_dir)
    ended = fleetkey(*words, *(["--json"] if as_json else []))
    assert file.stat().st_mode & 0o777 == 0o600
    saved = json.loads(file.read_text())
    the_ledger().note_secret(saved["secret"])
    assert saved["secret"] not in ended.out + ended.err
    assert HEX_64.search(ended.out + ended.err) is None
    assert saved["key"] in ended.out
    assert saved["mqtt"] == {"host": "127.0.0.1", "port": 1883, "tls": False}
    assert [one["key"] for one in fleetkey.json("keys", "list")] == [saved["key"]]


def test_create_save_over_a_file(fleetkey: CommandLine) -> None:
    """A file that is there is left as it is, and no key is made."""
    file = fleetkey.folder / "back-end.json"
    file.write_text("mine")
    assert str(file) in fleetkey.error("keys", "create", "--application", "x", "--all-devices", "--save", file)
    assert file.read_text() == "mine"
    assert fleetkey.json("keys", "list", "--all") == []


def test_create_save_nowhere(fleetkey: CommandLine) -> None:
    """A file that can't be written is named, and no key is made."""
    (fleetkey.folder / "a-file").touch()
    for folder in ("nowhere/at/all", "a-file"):
        file = fleetkey.folder / folder / "back-end.json"
        error = fleetkey.error("keys", "create", "--application", "x", "--all-devices", "--save", file)
        assert error.startswith(f"can't write {file}")
    assert fleetkey.json("keys", "list", "--all") == []
    assert not (fleetkey.folder / "nowhere").exists()


def test_create_save_in_a_new_folder(fleetkey: CommandLine) -> None:
    """A folder that alone is missing is made, for its owner alone."""
    file = fleetkey.folder / "credentials" / "back-end.json"
    fleetkey("keys", "create", "--application", "x", "--all-devices", "--save", file)
    the_ledger().note_secret(json.loads(file.read_text())["secret"])
    assert (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


def test_create_save_for_unknown_device(fleetkey: CommandLine) -> None:
    """A key that was not made leaves no file behind."""
    file = fleetkey.folder / "back-end.json"
    fleetkey.error("keys", "create", "--application", "x", "--device", "0" * 24, "--save", file)
    assert not file.exists()


def test_list(fleetkey: CommandLine) -> None:
    """All of them, a device's, or those of applications; JSON is an array, also of none."""
    assert fleetkey.json("keys", "list") == []
    (device_id, key), (_, other) = fleetkey.device("SN-1"), fleetkey.device("SN-2")
    made = _create(fleetkey, "--all-devices")["key"]
    assert [one["key"] for one in fleetkey.json("keys", "list")] == [key, other, made]
    assert [one["key"] for one in fleetkey.json("keys", "list", "--device", device_id)] == [key]
    assert [one["key"] for one in fleetkey.json("keys", "list", "--applications")] == [made]
    said = fleetkey.text("keys", "list")
    assert key in said
    assert "$2a$" not in said


def test_revoke(fleetkey: CommandLine) -> None:
    """The key is retired for good; a second time changes nothing."""
    _, key = fleetkey.device()
    retired = fleetkey.json("keys", "revoke", key)
    assert (retired["key"], retired["status"]) == (key, "retired")
    assert retired["retired_at"]
    assert fleetkey.json("keys", "revoke", key) == retired
    assert fleetkey.json("keys", "list") == []


def test_rotate(fleetkey: CommandLine) -> None:
    """A device's keys get an end: after the grace period that is asked for, or the one of the settings."""
    device_id, key = fleetkey.device()
    begun = {"device_id": device_id, "keys": 1, "ending_sooner": 0, "grace_seconds": 86_400}
    assert fleetkey.json("keys", "rotate", device_id) == begun
    far = fleetkey.json("keys", "list")[0]["expires_at"]
    assert fleetkey.json("keys", "rotate", device_id, "--grace-seconds", "60")["grace_seconds"] == 60
    (listed,) = fleetkey.json("keys", "list")
    assert listed["key"] == key
    assert listed["expires_at"] < far
    assert fleetkey.text("keys", "rotate", device_id) == f"1 key(s) of {device_id} already expire sooner\n"
    fleetkey.json("keys", "revoke", key)
    assert fleetkey.text("keys", "rotate", device_id) == f"{device_id} has no active key; nothing to rotate\n"
    assert [entry["reason"] for entry in fleetkey.json("audit", "--action", "keys_rotated")] == [
        "keys=1 ending_sooner=0 grace_seconds=86400",
        "keys=1 ending_sooner=0 grace_seconds=60",
    ]


def test_create_sources_and_end(fleetkey: CommandLine) -> None:
    """A key may be bound to networks and have an end; both are shown."""
    made = _create(fleetkey, "--all-devices", "--source", "10.1.0.0/16", "--source", "192.0.2.7", "--expires", "30d")
    assert made["sources"] == ["10.1.0.0/16", "192.0.2.7/32"]
    (listed,) = fleetkey.json("keys", "list")
    assert listed["expires_at"] == made["expires_at"]
    assert made["expires_at"] > made["created_at"]
    for options, said in (
        (("--source", "10.1.0.1/16"), "did you mean 10.1.0.0/16?"),
        (("--expires", "soon"), "is not a time"),
        (("--expires", "2020-01-01"), "not in the future"),
    ):
        assert said in fleetkey.error("keys", "create", "--application", "x", "--all-devices", *options, status=2)


def test_create_from_json(fleetkey: CommandLine) -> None:
    """Losant's document makes a key, and comes back with key, secret and status."""
    device_id, _ = fleetkey.device()
    document = {"name": "dash", "deviceIds": [device_id], "filterType": "whitelist", "subTopics": ["news/#"]}
    file = fleetkey.folder / "key.json"
    file.write_text(json.dumps(document))
    made = fleetkey.json("keys", "create", "--from-json", file, "--source", "10.0.0.0/8")
    the_ledger().note_secret(made["secret"])
    assert {**made, **document} == made
    assert (made["status"], made["pubTopics"]) == ("active", [])
    (listed,) = fleetkey.json("keys", "list", "--applications")
    assert (listed["key"], listed["name"], listed["sources"]) == (made["key"], "dash", ["10.0.0.0/8"])
    assert listed["scope"] == {**NOTHING, "device_ids": [device_id], "subscribe": ["news/#"]}


def test_create_from_json_refused(fleetkey: CommandLine) -> None:
    """What can't be read, kept or meant together makes no key."""
    file = fleetkey.folder / "key.json"
    assert "can't read" in fleetkey.error("keys", "create", "--from-json", file)
    file.write_text('{"name": "x", "filterType": "blacklist"}')
    assert "blacklist" in fleetkey.error("keys", "create", "--from-json", file, status=2)
    file.write_text('{"name": "x"}')
    assert "leave out" in fleetkey.error("keys", "create", "--from-json", file, "--application", "y", status=2)
    assert fleetkey.json("keys", "list", "--all") == []


@pytest.mark.parametrize(
    ("option", "topic", "reason"),
    [
        ("--subscribe", "a/#/b", "not a topic filter"),
        ("--subscribe", "a/b+", "not a topic filter"),
        ("--subscribe", "$share/group/devices/#", "need no scope of their own"),
        ("--publish", "$SYS/x", "never allowed"),
        ("--subscribe", "a/b/c/d/e", "5 levels; the broker allows 4 ([mqtt] max_topic_levels)"),
        ("--publish", "a/b/c/d/#", "5 levels; the broker allows 4 ([mqtt] max_topic_levels)"),
        ("--subscribe", "ä" * 20, "40 bytes; the broker allows 32 ([mqtt] max_topic_bytes)"),
        ("--publish", "a" * 33, "33 bytes; the broker allows 32 ([mqtt] max_topic_bytes)"),
    ],
)
def test_create_with_a_topic_that_the_broker_refuses(
    fleetkey: CommandLine, option: str, topic: str, reason: str
) -> None:
    """No key is made whose topics the broker would refuse to everybody; the sentence says which bound it is."""
    (fleetkey.folder / "fleetkey.toml").write_text("[mqtt]\nmax_topic_bytes = 32\nmax_topic_levels = 4\n")
    words = ("keys", "create", "--application", "x", option)
    assert reason in fleetkey.error(*words, topic, status=2)
    assert fleetkey.json("keys", "list") == []
    for allowed in ("a/b/c/d", "a/b/c/#", "a" * 32, *(["$SYS/#"] if option == "--subscribe" else [])):
        secret = fleetkey.json(*words, allowed)["secret"]
        the_ledger().note_secret(secret)
