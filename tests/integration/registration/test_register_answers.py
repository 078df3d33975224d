"""What a device gets when it registers over HTTP."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from fleetkey import __version__

if TYPE_CHECKING:
    import httpx

    from tests.support.fleet import Fleet

HEX = re.compile(r"[0-9a-f]+")


def test_register_listed_serial(fleet: Fleet, http: httpx.Client) -> None:
    """A listed serial gets exactly id, key, secret and how to connect, and no cache may keep it."""
    response = http.post("/register", json={"serial": fleet.serial()})
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert set(answer) == {"deviceId", "key", "secret", "mqtt"}
    for name, length in (("deviceId", 24), ("key", 32), ("secret", 64)):
        assert HEX.fullmatch(answer[name]), name
        assert len(answer[name]) == length, name
    own = [f"devices/{answer['deviceId']}/#"]
    assert answer["mqtt"] == {
        "host": "127.0.0.1",
        "port": fleet.server.mqtt_port,
        "tls": False,
        "clientId": answer["deviceId"],
        "publish": own,
        "subscribe": own,
    }


def test_register_same_serial_again(fleet: Fleet, http: httpx.Client) -> None:
    """The same serial is the same device, with a new key and a new secret each time."""
    body = {"serial": fleet.serial()}
    answers = [http.post("/register", json=body).json() for _ in range(5)]
    assert len({answer["deviceId"] for answer in answers}) == 1
    assert len({answer["key"] for answer in answers}) == 5
    assert len({answer["secret"] for answer in answers}) == 5
    with fleet.store() as store:
        entries = [
            entry for entry in store.last_audit(100) if (entry.serial, entry.action) == (body["serial"], "register")
        ]
    assert [(entry.outcome, entry.reason) for entry in entries] == [("ok", "created"), *[("ok", "known")] * 4]


def test_register_other_serial(fleet: Fleet, http: httpx.Client) -> None:
    """Two serials share nothing."""
    first, second = (http.post("/register", json={"serial": fleet.serial()}).json() for _ in range(2))
    for name in ("deviceId", "key", "secret"):
        assert first[name] != second[name]


@pytest.mark.parametrize(
    "serial",
    [
        "x",
        "S" * 128,
        "\U0001f600" * 128,
        "größe 温度",
        "a  b",
        "devices/+/#",
        "$SYS",
        '"',
        "\\",
        "'; DROP TABLE devices --",
    ],
    ids=[
        "one",
        "longest",
        "longest_astral",
        "unicode",
        "inner_spaces",
        "wildcards",
        "dollar",
        "quote",
        "backslash",
        "sql",
    ],
)
def test_register_odd_serial(fleet: Fleet, http: httpx.Client, serial: str) -> None:
    """Any printable text of up to 128 characters may be a serial, and is only itself."""
    with fleet.store() as store:
        store.add_serials([serial], actor="test")
    response = http.post("/register", json={"serial": serial})
    assert response.status_code == 200
    with fleet.store() as store:
        assert store.get_device(response.json()["deviceId"]).serial == serial


def test_register_with_proof_and_charset(fleet: Fleet, http: httpx.Client) -> None:
    """A proof that no verifier asks for, null or text, and a content type with a parameter do no harm."""
    for proof in (None, "", "anything"):
        assert http.post("/register", json={"serial": fleet.serial(), "proof": proof}).status_code == 200
    content = f'{{"serial": "{fleet.serial()}"}}'
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert http.post("/register", content=content, headers=headers).status_code == 200


def test_register_removed_serial(fleet: Fleet, http: httpx.Client) -> None:
    """A serial that was taken off the list may not register again; its device's key still works."""
    device = fleet.device()
    with fleet.store() as store:
        store.remove_serial(device.serial, actor="test")
    assert http.post("/register", json={"serial": device.serial}).status_code == 400
    assert fleet.can_connect(device)


def test_health(http: httpx.Client) -> None:
    """Health says that the registry can be read."""
    for kind in ("live", "ready"):
        assert http.get(f"/health/{kind}").json()["status"] == kind
    response = http.get("/health")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "version": __version__}
    assert response.headers["cache-control"] == "no-store"


def test_openapi_describes_both_endpoints(http: httpx.Client) -> None:
    """The description lists every status of both operations, and what a body and an answer look like."""
    description = http.get("/schema/openapi.json").json()
    paths = {path for path in description["paths"] if not path.startswith("/api/")}
    assert paths == {"/register", "/health", "/health/live", "/health/ready", "/metrics"}
    register = description["paths"]["/register"]["post"]
    statuses = {"200", "202", "400", "401", "408", "409", "413", "415", "429", "503"}
    assert statuses <= set(register["responses"])
    for status in statuses - {"200", "202"}:
        assert list(register["responses"][status]["content"]) == ["application/problem+json"]
    body = register["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["serial"]
    assert set(body["properties"]) == {"serial", "proof"}
    assert body["additionalProperties"] is False
    assert body["properties"]["serial"]["minLength"] == 1
    assert body["properties"]["serial"]["maxLength"] == 128
    assert {"200", "503"} <= set(description["paths"]["/health"]["get"]["responses"])
    assert description["info"]["version"] == __version__
