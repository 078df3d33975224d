"""Credentials: parsed strictly, shown never."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.device import Credentials, Secret
from fleetkey.device.credentials import MalformedCredentialsError

DEVICE_ID, KEY, SECRET = "0123456789abcdef01234567", "ab" * 16, "cd" * 32
MQTT: dict[str, Any] = {
    "host": "broker.example.com",
    "port": 8883,
    "tls": True,
    "clientId": DEVICE_ID,
    "publish": [f"devices/{DEVICE_ID}/#"],
    "subscribe": [f"devices/{DEVICE_ID}/#"],
}
ANSWER: dict[str, Any] = {"deviceId": DEVICE_ID, "key": KEY, "secret": SECRET, "mqtt": MQTT}


def test_parse_answer() -> None:
    """A registration answer becomes values; what isn't known is left alone."""
    credentials = Credentials.parse(json.dumps(ANSWER | {"new": 1}))
    assert (credentials.device_id, credentials.key, credentials.secret) == (DEVICE_ID, KEY, Secret(SECRET))
    assert credentials.mqtt.address == "broker.example.com:8883"
    assert credentials.mqtt.publish == (f"devices/{DEVICE_ID}/#",)
    assert credentials.serial is None


def test_parse_application_key() -> None:
    """An application key has no device id, perhaps no client id, and a secret that a person may have chosen."""
    mqtt = {"host": "::1", "port": 1883, "tls": False, "publish": [], "subscribe": ["#"]}
    credentials = Credentials.parse(json.dumps({"key": "backend", "secret": "a ü b", "mqtt": mqtt}))
    assert (credentials.device_id, credentials.mqtt.client_id) == (None, None)
    assert credentials.mqtt.address == "[::1]:1883"
    assert credentials.secret.reveal() == "a ü b"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"deviceId": DEVICE_ID.upper()}, "deviceId"),
        ({"deviceId": DEVICE_ID + "0"}, "deviceId"),
        ({"deviceId": DEVICE_ID + "\n"}, "deviceId"),
        ({"deviceId": None}, "deviceId"),
        ({"key": KEY[:-1]}, "key"),
        ({"key": 7}, "key"),
        ({"secret": "x" + SECRET[1:]}, "secret"),
        ({"secret": None}, "secret"),
        ({"serial": ""}, "serial"),
        ({"serial": "a\nb"}, "serial"),
        ({"mqtt": None}, "mqtt"),
        ({"mqtt": []}, "mqtt"),
        ({"mqtt": MQTT | {"host": ""}}, "mqtt.host"),
        ({"mqtt": MQTT | {"host": "a b"}}, "mqtt.host"),
        ({"mqtt": MQTT | {"host": "\ud800"}}, "mqtt.host"),
        ({"mqtt": MQTT | {"host": "h" * 256}}, "mqtt.host"),
        ({"mqtt": MQTT | {"port": 0}}, "mqtt.port"),
        ({"mqtt": MQTT | {"port": 65_536}}, "mqtt.port"),
        ({"mqtt": MQTT | {"port": True}}, "mqtt.port"),
        ({"mqtt": MQTT | {"port": "1883"}}, "mqtt.port"),
        ({"mqtt": MQTT | {"tls": 0}}, "mqtt.tls"),
        ({"mqtt": MQTT | {"clientId": "f" * 24}}, "mqtt.clientId"),
        ({"mqtt": {name: value for name, value in MQTT.items() if name != "clientId"}}, "mqtt.clientId"),
        ({"mqtt": MQTT | {"publish": "devices/#"}}, "mqtt.publish"),
        ({"mqtt": MQTT | {"publish": [""]}}, "mqtt.publish"),
        ({"mqtt": MQTT | {"publish": ["a/#/b"]}}, "mqtt.publish"),
        ({"mqtt": MQTT | {"subscribe": [1]}}, "mqtt.subscribe"),
        ({"mqtt": MQTT | {"subscribe": ["a\nb"]}}, "mqtt.subscribe"),
        ({"mqtt": MQTT | {"subscribe": ["a"] * 101}}, "mqtt.subscribe"),
    ],
)
def test_parse_malformed(change: dict[str, Any], named: str) -> None:
    """Each field that is wrong is named, and neither its value nor the secret is."""
    with pytest.raises(MalformedCredentialsError, match=named) as caught:
        Credentials.parse(json.dumps(ANSWER | change))
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.kind == "corrupt"


@pytest.mark.parametrize("text", ["", "{", '{"key": "x', "\0" * 100, "[" * 60_000, b"\xff\xfe{", "nul"])
def test_parse_not_json(text: str | bytes) -> None:
    """Text that is no JSON is damage, and the error has none of it along."""
    with pytest.raises(MalformedCredentialsError, match="not JSON") as caught:
        Credentials.parse(text)
    assert caught.value.kind == "corrupt"
    assert caught.value.__context__ is None


@pytest.mark.parametrize("text", ["[]", "null", '{"name": "package"}', "12"])
def test_parse_foreign(text: str) -> None:
    """Sound JSON about something else is not damage: it may be somebody's file."""
    with pytest.raises(MalformedCredentialsError) as caught:
        Credentials.parse(text)
    assert caught.value.kind == "unusable"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted({*ANSWER, "serial"})), json_values), json_values)
def test_parse_anything(change: dict[str, Any], host: object) -> None:
    """Whatever JSON comes, parsing either works or raises its own error."""
    for document in (change, ANSWER | change, ANSWER | {"mqtt": MQTT | {"host": host, "publish": host}}):
        try:
            Credentials.parse(json.dumps(document))
        except MalformedCredentialsError:
            continue


@given(st.binary())
def test_parse_any_bytes(text: bytes) -> None:
    """Whatever bytes come, parsing raises its own error."""
    with pytest.raises(MalformedCredentialsError):
        Credentials.parse(text)


def test_secret_is_not_shown() -> None:
    """A secret shows itself in no repr, text, format, error or pickle, alone or inside."""
    credentials = Credentials.parse(json.dumps(ANSWER))
    shown = f"{credentials} {credentials!r} {credentials.secret} {credentials.secret!r} {[credentials.secret]}"
    assert SECRET not in shown
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="be pickled"):
            attempt(credentials.secret)


def test_secret_equality() -> None:
    """Secrets compare by value, and only with secrets."""
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
