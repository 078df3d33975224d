"""Pages of long items: bounded in bytes, chunked if they are long, and together the whole list."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.admin_api.lists import MAX_PAGE_BYTES
from fleetkey.config.labels import MAX_LABEL_CHARACTERS, MAX_LABELS
from fleetkey.management.keys import MAX_SCOPE_TOPICS
from fleetkey.management.pages import MAX_PAGE_PART_BYTES
from fleetkey.registry import DeviceOrder, ListedSerial, Role
from tests.integration.api.api_rig import Api
from tests.support.streams import TcpStream

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 40
FRAME_BYTES = 200
"""More than a page has besides its items."""
LONGEST = {
    f"{number:02}{'🔑' * (MAX_LABEL_CHARACTERS - 2)}": "é" * MAX_LABEL_CHARACTERS for number in range(MAX_LABELS)
}
"""As many labels as an item may have, each as long as it may be."""


@pytest.fixture(scope="module")
def filled(api: Api) -> Api:
    """Fill the lists with some items at their bounds, between short ones."""
    for number in range(COUNT):
        labels = {"all": "yes"} if number % 2 else LONGEST
        api.device(f"SN-{number:02}", tags=labels, attributes=labels)
    api.store.add_serials(
        [ListedSerial(serial=f"L-{number:02}", tags=LONGEST if number % 3 else {}) for number in range(COUNT)],
        actor="test",
    )
    return api


def _pages(api: Api, path: str, **query: Any) -> list[dict[str, Any]]:
    """Return all pages of a list, each within its bound."""
    pages = []
    while True:
        response = api.ask("GET", path, params={"limit": 1_000, **query})
        assert response.status_code == 200
        assert ("content-length" in response.headers) is ("transfer-encoding" not in response.headers)
        assert ("content-length" in response.headers) is (len(response.content) <= MAX_PAGE_PART_BYTES + FRAME_BYTES)
        assert len(response.content) <= MAX_PAGE_BYTES + FRAME_BYTES
        pages.append(response.json())
        if pages[-1]["next_cursor"] is None:
            return pages
        query["cursor"] = pages[-1]["next_cursor"]


@pytest.mark.parametrize(("path", "name"), [("devices", "device_id"), ("serials", "serial")])
def test_pages_of_long_items(filled: Api, path: str, name: str) -> None:
    """Nothing is lost, repeated or reordered, and no page is longer than its bound."""
    pages = _pages(filled, path)
    found = [item for page in pages for item in page["items"]]
    assert len(pages) > 1
    names = [item[name] for item in found]
    assert names == sorted(set(names))
    assert len(names) == COUNT
    assert sum(item["tags"] == LONGEST for item in found) >= COUNT // 2


def test_page_of_a_search(filled: Api) -> None:
    """A search that only few match makes short pages, too."""
    pages = _pages(filled, "devices", serial_pattern="SN-[0-9]*[02468]", online="false")
    assert [len(page["items"]) for page in pages] != [COUNT // 2]
    assert sum(len(page["items"]) for page in pages) == COUNT // 2


@pytest.mark.parametrize("sort", DeviceOrder)
def test_pages_of_sorted_devices(filled: Api, sort: DeviceOrder) -> None:
    """A sorted list is as complete as any, and in its order across parts and pages."""
    pages = _pages(filled, "devices", sort=sort)
    assert len(pages) > 1
    found = [item for page in pages for item in page["items"]]
    values: dict[DeviceOrder, Callable[[dict[str, Any]], Any]] = {
        DeviceOrder.SERIAL: lambda item: item["serial"],
        DeviceOrder.CREATED: lambda item: [-ord(digit) for digit in item["created_at"]],
        DeviceOrder.SEEN: lambda item: item["device_id"],
    }
    assert found == sorted(found, key=lambda item: (values[sort](item), item["device_id"]))
    assert len({item["device_id"] for item in found}) == COUNT
    others = [order for order in DeviceOrder if order is not sort]
    for query in ({"sort": others[0]}, {"sort": others[1]}, {}):
        assert filled.ask("GET", "devices", params={**query, "cursor": pages[0]["next_cursor"]}).status_code == 400


def test_pages_of_filtered_serials(filled: Api) -> None:
    """Serials that are searched for make pages within the same bounds."""
    pages = _pages(filled, "serials", serial_pattern="L-[0-9]+", used="false")
    assert len(pages) > 1
    assert [item["serial"] for page in pages for item in page["items"]] == [f"L-{number:02}" for number in range(COUNT)]
    assert not any(page["items"] for page in _pages(filled, "serials", used="true"))


def test_key_with_many_topics(api: Api) -> None:
    """A key longer than a part is a part of its own, on one page with the keys before and after it."""
    topics = [f"t/{number}/{'é' * 100}" for number in range(MAX_SCOPE_TOPICS)]
    assert len(json.dumps(topics, ensure_ascii=False).encode()) > 2 * MAX_PAGE_PART_BYTES
    for name, subscribe in (("before", topics[:1]), ("large", topics), ("after", topics[:1])):
        api.json("POST", "keys", json={"name": name, "scope": {"subscribe": subscribe}})
    response = api.ask("GET", "keys", params={"kind": "application"})
    items = response.json()["items"]
    assert [item["name"] for item in items] == ["before", "large", "after"]
    assert items[1]["scope"]["subscribe"] == topics
    assert response.headers["transfer-encoding"] == "chunked"


def test_http_1_0(filled: Api) -> None:
    """HTTP/1.0 has no chunks: its pages end with the first part, and have a length and a cursor."""
    token = filled.tokens[Role.VIEWER]
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        path = f"/api/v1/devices?limit=1000{cursor and f'&cursor={cursor}'}"
        request = f"GET {path} HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        with TcpStream(filled.server.http_port, request) as stream:
            answer = b""
            while data := stream.receive():
                answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head
        assert b"transfer-encoding" not in head
        page = json.loads(body)
        found += [item["device_id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert found == sorted(set(found))
    assert len(found) >= COUNT


def test_remembered_page(filled: Api) -> None:
    """A page in one part is remembered, one in several parts is read again, and neither changes by that."""
    for limit in (1, 1_000):
        first, second = (filled.ask("GET", "devices", params={"limit": limit}).content for _ in range(2))
        assert first == second
