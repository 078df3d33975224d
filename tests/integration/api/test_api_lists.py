"""Pages with a cursor, and bodies that can't be taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from fleetkey.registry import Presence, Role
from tests.integration.api.api_rig import Api, serving
from tests.support.http import NOBODY_TRUSTED
from tests.support.problems import assert_problem
from tests.support.streams import TcpStream

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def fleet_of_40(api: Api) -> list[str]:
    """Register forty devices, every second tagged `parity=even`, and return their ids in order."""
    found = []
    for number in range(40):
        tags = {"parity": "odd" if number % 2 else "even", "all": "yes"}
        device_id, _ = api.device(f"SN-{number:02}", tags=tags, attributes={"batch": str(number // 10)})
        found.append(device_id)
    return sorted(found)


@pytest.mark.parametrize("limit", [1, 7, 40, 1000])
def test_pages(api: Api, fleet_of_40: list[str], limit: int) -> None:
    """Pages of any size make up the whole list, in order, each item once."""
    assert [device["device_id"] for device in api.items("devices", tag="all=yes", limit=limit)] == fleet_of_40


def test_pages_while_devices_come_and_go(api: Api, fleet_of_40: list[str]) -> None:
    """What is there all the time is listed once, whatever is added or deleted between two pages."""
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for number in range(200):
        page = api.json("GET", "devices", params={"tag": "all=yes", "limit": "4", **cursor})
        seen += [device["device_id"] for device in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        device_id, _ = api.device(f"SN-passing-{number}", tags={"all": "yes"})
        if number % 2:
            api.store.delete_device(device_id, actor="test")
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen)
    assert set(fleet_of_40) <= set(seen)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"tag": ["all=yes", "parity=even"], "serial_pattern": "SN-[0-9]+"}, 20),
        ({"tag": "parity=even", "attribute": "batch=1"}, 5),
        ({"state": "active", "tag": "parity=odd", "attribute": "batch=3"}, 5),
        ({"state": "disabled", "tag": "parity=odd"}, 0),
        ({"serial_pattern": "SN-1[0-4]"}, 5),
        ({"serial": "SN-11"}, 1),
        ({"serial": "SN-11", "tag": "parity=odd", "state": "active", "serial_pattern": "SN-.*"}, 1),
        ({"serial": "SN-11", "tag": "parity=even"}, 0),
        ({"serial": "nowhere"}, 0),
    ],
)
@pytest.mark.usefixtures("fleet_of_40")
def test_filters(api: Api, query: dict[str, Any], count: int) -> None:
    """Everything that is given must match, whichever of it leads the search."""
    for limit in (2, 100):
        assert len(api.items("devices", **query, limit=limit)) == count


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("devices", {"limit": "0"}),
        ("devices", {"limit": "1001"}),
        ("devices", {"limit": "many"}),
        ("devices", {"state": "asleep"}),
        ("devices", {"tag": "site"}),
        ("devices", {"tag": ["a=1", "a=2"]}),
        ("devices", {"serial_pattern": "("}),
        ("devices", {"sort": "colour"}),
        ("devices", {"cursor": "0" * 24, "sort": "serial"}),
        ("devices", {"state": ["active", "active"]}),
        ("devices", {"cursor": "zzz"}),
        ("devices", {"cursor": "", "tag": ["a=b", "c=d"]}),
        ("devices", {"cursor": "0" * 25, "serial": "SN-1"}),
        ("serials", {"cursor": "0" * 24}),
        ("serials", {"cursor": "serial:"}),
        ("keys", {"cursor": "-1"}),
        ("keys", {"cursor": "7"}),
        ("keys", {"cursor": "key:" + "1" * 19}),
        ("keys", {"cursor": "token:1"}),
        ("tokens", {"cursor": "audit:1"}),
        ("audit", {"cursor": "x"}),
        ("audit", {"cursor": "key:1"}),
        ("audit", {"cursor": "0" * 24, "order": "oldest"}),
        ("audit", {"order": "random"}),
        ("audit", {"outcome": "nope"}),
        ("audit", {"action": "nosuch"}),
        ("audit", {"address": "here"}),
        ("audit", {"since": "yesterday"}),
        ("audit", {"until": "2026-11-01", "since": "2026-11-01"}),
        ("refusals", {"cursor": "audit:1"}),
        ("refusals", {"address": "here"}),
        ("refusals", {"stage": "lunch"}),
        ("refusals", {"reason": "nosuch"}),
        ("refusals", {"since": "yesterday"}),
        ("devices", {"online": "perhaps"}),
        ("tokens", {"include_ended": "perhaps"}),
    ],
)
def test_query_that_cant_be(api: Api, path: str, query: dict[str, Any]) -> None:
    """A query that can't be, or that the operation doesn't have, is refused and named."""
    detail = assert_problem(api.ask("GET", path, params=query), 400)
    assert next(iter(query)) in detail


def test_parameter_by_its_name(api: Api) -> None:
    """What is wrong with a parameter is said with the name that it has in the URL, and with what it may be."""
    states = "pending, active, disabled, rejected"
    for path, detail in (
        ("devices?state=asleep", f"At `state`: Invalid enum value 'asleep'; must be one of {states}."),
        ("audit?order=x", "At `order`: Invalid enum value 'x'; must be one of newest, oldest."),
        ("devices?online=perhaps", "At `online`: Expected `bool`, got `str`."),
        ("keys?cursor=x", "At `cursor`: This is not a cursor of an earlier page of this list."),
    ):
        assert assert_problem(api.ask("GET", path), 400) == detail
    missing = assert_problem(api.ask("DELETE", "serials"), 400)
    assert missing == "Missing required query parameter 'serial'."


def test_cursor_refused_alike(api: Api) -> None:
    """What is no cursor is refused in the same words whichever list it is for, and each parameter with its place."""
    for path in ("devices", "serials", "keys", "tokens", "audit"):
        detail = assert_problem(api.ask("GET", f"{path}?cursor=x"), 400)
        assert detail == "At `cursor`: This is not a cursor of an earlier page of this list."
    both = assert_problem(api.ask("GET", "devices?state=asleep&online=perhaps"), 400)
    assert both.startswith("At `state`: Invalid")
    assert ". At `online`: Expected" in both


def test_rotation_without_a_body(api: Api) -> None:
    """Rotating asks for no body: without one it is as with an empty object, and one that is there is looked at."""
    device_id, _ = api.device("SN-rotated-bodiless")
    path = f"devices/{device_id}/rotate-keys"
    expected = api.json("POST", path, json={})
    for options in ({}, {"headers": JSON}, {"content": iter([b""]), "headers": JSON}):
        rotation = api.json("POST", path, **options)
        assert rotation["grace_seconds"] == expected["grace_seconds"]
        assert rotation["device_id"] == device_id
    assert_problem(api.ask("POST", path, content=b"{}"), 415)
    assert_problem(api.ask("POST", path, content=b" ", headers=JSON), 400)
    assert_problem(api.ask("POST", path, json={"grace": 1}), 400)


@pytest.mark.parametrize("seconds", [-1, 31_536_001, 1 << 70])
def test_grace_that_cant_be(api: Api, seconds: int) -> None:
    """A grace period out of bounds is refused and named, also by a bulk change that no device matches."""
    body = {"action": "rotate", "tags": {"no": "device"}, "grace_seconds": seconds}
    assert "grace_seconds" in assert_problem(api.ask("POST", "devices/bulk", json=body), 400)


def test_key_refused_in_its_own_words(api: Api) -> None:
    """What is wrong with a key is said in the words of the request, not in those of the command line."""
    body: dict[str, Any] = {"name": "x", "deviceTags": [{"key": "a", "value": "b"}]}
    assert assert_problem(api.ask("POST", "keys/losant?source=bad", json=body), 400).startswith("At `source`: 'bad'")
    body["deviceTags"] = [{"key": "a"}]
    detail = assert_problem(api.ask("POST", "keys/losant", json=body), 400)
    assert detail == "deviceTags[0] needs a key and a value, and nothing else."
    for scope in ({}, {"all_devices": True, "tags": {"a": "b"}}):
        assert "--" not in assert_problem(api.ask("POST", "keys", json={"name": "x", "scope": scope}), 400)


def test_no_such_operation(api: Api) -> None:
    """A path or a method that isn't there is said to be so."""
    assert assert_problem(api.ask("GET", "nowhere"), 404) == "There is nothing at this path."
    detail = assert_problem(api.ask("PUT", "tokens"), 405)
    assert detail == "This path doesn't allow PUT; it allows GET, OPTIONS, POST."


def test_presence(api: Api) -> None:
    """A device says whether it is connected, since when and from where; the list asks for it."""
    ids = [api.device(f"SN-presence-{number}", tags={"presence": "yes"})[0] for number in range(3)]
    seen = Presence(is_online=True, connected_at=1_000, last_seen_at=2_000, address="192.0.2.7")
    gone = Presence(connected_at=1_000, disconnected_at=3_000, last_seen_at=3_000, reason="keep_alive")
    api.store.record_presence({ids[0]: seen, ids[1]: gone})
    said = [api.json("GET", f"devices/{device_id}") for device_id in ids]
    names = ("online", "connected_at", "disconnected_at", "last_seen_at", "address", "disconnect_reason")
    first, third = "1970-01-01T00:00:01.000Z", "1970-01-01T00:00:03.000Z"
    assert [[device[name] for name in names] for device in said] == [
        [True, first, None, "1970-01-01T00:00:02.000Z", "192.0.2.7", ""],
        [False, first, third, third, "", "keep_alive"],
        [False, None, None, None, "", ""],
    ]
    for online, some in (("true", ids[:1]), ("false", ids[1:])):
        found = api.items("devices", tag="presence=yes", online=online, limit=1)
        assert sorted(device["device_id"] for device in found) == sorted(some)


def test_audit_filters(api: Api) -> None:
    """The audit is found by kind of actor, address and time as on the command line."""
    api.json("POST", "serials", json={"serials": ["SN-filtered"]})
    query: dict[str, Any] = {"serial": "SN-filtered", "actor": "api", "address": "127.0.0.1", "since": "1h"}
    assert len(api.items("audit", **query)) == 1
    assert api.items("audit", **{**query, "address": "192.0.2.1"}) == []
    assert api.items("audit", **{**query, "since": "2000-01-01", "until": "2001-01-01"}) == []
    assert api.items("audit", **{**query, "actor": "cli"}) == []


def test_audit_both_ways(api: Api) -> None:
    """From the newest back and from the oldest on, the audit is the same; the latter goes on with what comes."""
    api.store.add_serials(["SN-audited"], actor="cli:someone")
    back = api.items("audit", limit=50)
    page = api.json("GET", "audit", params={"order": "oldest", "limit": "1000"})
    assert page["items"] == back[::-1]
    cursor = {"order": "oldest", "cursor": page["next_cursor"]}
    assert api.json("GET", "audit", params=cursor) == {"items": [], "next_cursor": page["next_cursor"]}
    api.store.remove_serial("SN-audited", actor="cli:someone")
    later = api.json("GET", "audit", params={**cursor, "actor": "cli:someone"})["items"]
    assert [entry["action"] for entry in later] == ["serial_removed"]
    beyond = {"cursor": "audit:" + "9" * 18, "limit": "1"}
    newest = api.json("GET", "audit", params={"limit": "1"})
    assert api.json("GET", "audit", params=beyond) == newest
    at_end = f"audit:{newest['items'][0]['seq']}"
    assert api.json("GET", "audit", params={**beyond, "order": "oldest"}) == {"items": [], "next_cursor": at_end}
    assert [entry["action"] for entry in api.items("audit", serial="SN-audited", action="serials_added")] == [
        "serials_added"
    ]


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b'{"serials": ["A"]}', {}, 415),
        (b'{"serials": ["A"]}', {"Content-Type": "text/plain"}, 415),
        (b"", JSON, 400),
        (b"{", JSON, 400),
        (b"\xff", JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b"[]", JSON, 400),
        (b'{"serials": []}', JSON, 400),
        (b'{"serials": [1]}', JSON, 400),
        (b'{"serials": [" A"]}', JSON, 400),
        (b'{"serials": ["A", "\\ud800"]}', JSON, 400),
        (b'{"serials": [{"serial": "A", "profile": "nowhere"}]}', JSON, 400),
        (b'{"serials": [{"serial": "A", "tags": {"": "x"}}]}', JSON, 400),
        (b'{"serials": ["A"], "more": 1}', JSON, 400),
        (b" " * (1024 * 1024 + 1), JSON, 413),
    ],
)
def test_body_that_cant_be(api: Api, content: bytes, headers: dict[str, str], status: int) -> None:
    """A body that can't be taken is refused, and nothing is added."""
    before = api.store.count_serials()
    assert_problem(api.ask("POST", "serials", content=content, headers=headers), status)
    assert api.store.count_serials() == before


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("bad ", "serials[1] ('bad '): the serial begins or ends with whitespace."),
        ("x" * 200, f"serials[1] ('{'x' * 40}…'): the serial has 200 characters; at most 128 are allowed."),
        ({"serial": "A", "profile": "nope"}, "serials[1] ('A'): there is no profile 'nope' in the settings."),
        ({"serial": "A", "name": "x" * 129}, "serials[1] ('A'): a name must be at most 128 printable characters."),
    ],
)
def test_which_serial(api: Api, entry: Any, said: str) -> None:
    """Of many serials it is said which one can't be, and why."""
    assert assert_problem(api.ask("POST", "serials", json={"serials": ["ok", entry]}), 400) == said


@pytest.mark.parametrize("content_type", ["application/json", "", "text/html"])
def test_import_of_something_else(api: Api, content_type: str) -> None:
    """An import says whether it is text or CSV."""
    headers = {"Content-Type": content_type} if content_type else {}
    assert_problem(api.ask("POST", "serials/import", content=b"A\n", headers=headers), 415)


def test_import_all_or_nothing(api: Api) -> None:
    """One wrong line leaves nothing, and is named; a CSV brings what its devices get."""
    before = api.store.count_serials()
    text, table = {"Content-Type": "text/plain"}, {"Content-Type": "text/csv; charset=utf-8"}
    detail = assert_problem(api.ask("POST", "serials/import", content=b"I-1\n I-2\n", headers=text), 400)
    assert "line 2" in detail.lower()
    assert_problem(api.ask("POST", "serials/import", content=b"serial,name\nI-1,a\nI-1,b\n", headers=table), 400)
    assert api.store.count_serials() == before
    content = "serial,name,tag:site\nI-1,Pumpe Süd,north\n".encode()
    assert api.json("POST", "serials/import", content=content, headers=table) == {"added": 1, "known": 0, "replaced": 0}
    listed = api.store.find_serial("I-1")
    assert listed is not None
    assert (listed.name, listed.tags) == ("Pumpe Süd", {"site": "north"})


def test_bulk(api: Api) -> None:
    """Devices are changed by what they have; what can't be, or doesn't fit, changes nothing."""
    ids = [api.device(f"SN-bulk-{number}", is_pending=True, tags={"bulk": "yes"})[0] for number in range(5)]
    body = {"action": "approve", "tags": {"bulk": "yes"}}
    assert api.json("POST", "devices/bulk", json=body) == {
        "changed": 5,
        "unchanged": 0,
        "refused": 0,
        "devices": [],
        "next_cursor": None,
    }
    assert {api.json("GET", f"devices/{device_id}")["state"] for device_id in ids} == {"active"}
    for field, value in (("set_tags", {"a": "b"}), ("grace_seconds", 5)):
        assert field in assert_problem(api.ask("POST", "devices/bulk", json={**body, field: value}), 400)
    assert "set_tags" in assert_problem(api.ask("POST", "devices/bulk", json={**body, "action": "tag"}), 400)
    too_long = {**body, "action": "rotate", "grace_seconds": 31_536_001}
    assert "grace_seconds" in assert_problem(api.ask("POST", "devices/bulk", json=too_long), 400)
    named = {"action": "approve", "device_ids": ids, "cursor": ids[0]}
    for refused in ({**body, "cursor": "zzz"}, named):
        assert "cursor" in assert_problem(api.ask("POST", "devices/bulk", json=refused), 400)
    for wrong in ({"action": "approve"}, {**body, "device_ids": ids}, {"action": "burn", "tags": {"a": "b"}}):
        assert_problem(api.ask("POST", "devices/bulk", json=wrong), 400)
    said = api.json("POST", "devices/bulk", json={"action": "reject", "device_ids": ids})
    assert (said["changed"], said["refused"]) == (0, 5)
    assert {(one["state"], one["outcome"]) for one in said["devices"]} == {("active", "refused")}
    assert_problem(api.ask("POST", "devices/bulk", json={"action": "reject", "device_ids": ["nowhere"]}), 404)


def test_everything_unkept(api: Api) -> None:
    """No answer may be kept by a proxy or a browser."""
    for path in ("", "devices", "keys", "serials", "tokens", "audit"):
        assert api.ask("GET", path).headers["cache-control"] == "no-store"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Run a server without its admin API."""
    with serving(tmp_path_factory.mktemp("closed"), {"FLEETKEY_HTTP__ADMIN_API": "false"}) as api:
        yield api


def test_api_switched_off(closed: Api) -> None:
    """`[http] admin_api = false` leaves registration alone."""
    assert_problem(closed.ask("GET", "devices", role=Role.ADMIN), 404)
    assert httpx.get(f"{closed.server.url}/health", verify=NOBODY_TRUSTED).status_code == 200


@pytest.mark.parametrize("query", ["state=null", "online=null", "online=", "limit=1e2", "limit=1.0", "limit=null"])
def test_values_that_are_none(api: Api, query: str) -> None:
    """What isn't a value of a parameter is refused, not taken for something else."""
    response = api.ask("GET", f"devices?{query}")
    assert_problem(response, 400)
    assert query.partition("=")[0] in response.json()["detail"]


@pytest.mark.parametrize("path", ["//api/v1/devices", "/api%2Fv1/devices", "/api/%761/devices"])
def test_other_spellings(api: Api, path: str) -> None:
    """The API is at one spelling of its path, which a proxy in front can know."""
    token = api.tokens[Role.ADMIN]
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    with TcpStream(api.server.http_port, request) as stream:
        assert stream.receive().startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("tokens", '{"name": "x", "role": "viewer", "role": "admin"}'),
        ("serials", '{"serials": ["SN-A"], "serials": ["SN-B"]}'),
        ("keys", '{"name": "x", "scope": {"tags": {"a": "1", "a": "2"}}}'),
    ],
)
def test_name_twice(api: Api, path: str, body: str) -> None:
    """JSON with a name twice in one object says two things: it is refused, and nothing is done."""
    newest = api.store.last_audit(1)
    response = api.ask("POST", path, content=body, headers=JSON)
    assert_problem(response, 400)
    assert "twice" in response.json()["detail"]
    assert api.store.last_audit(1) == newest


def test_description_of_a_key(api: Api) -> None:
    """Line ends are fine, other control characters are not."""
    body = {"name": "x", "scope": {"tags": {"a": "1"}}, "description": "one\ntwo"}
    assert api.json("POST", "keys", json=body)["description"] == "one\ntwo"
    assert_problem(api.ask("POST", "keys", json={**body, "description": "\0"}), 400)
