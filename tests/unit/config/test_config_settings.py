"""Defaults, bounds and the rules between settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ValidationError

from fleetkey.config import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEYOND = {"registration.verifiers": "open", "http.bind": "192.0.2.1:8080"}


def _tables(model: BaseModel) -> Iterator[BaseModel]:
    yield model
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _tables(value)


def test_defaults_are_closed() -> None:
    """Without any setting only this machine reaches Fleetkey, and only listed serials register."""
    settings = load_settings()
    assert settings.http.address.is_loopback
    assert settings.mqtt.bind == "127.0.0.1:1883"
    assert (settings.mqtt.ws_bind, settings.mqtt.tls_bind) == ("", "")
    assert settings.registration.verifiers == ("allowlist",)
    assert settings.registration.open_beyond_loopback is False
    assert settings.registration.reregistration == "rotate"
    assert settings.http.trusted_proxies == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("registration.max_per_address_per_minute", 60),
        ("registration.max_per_serial_per_hour", 20),
        ("registration.refuse_status", 400),
        ("access.bcrypt_rounds", 4),
        ("access.max_failures_per_address_per_minute", 60),
        ("access.max_failures_per_key_per_minute", 20),
        ("topics.preset", "default"),
    ],
)
def test_defaults_as_documented(key: str, value: object) -> None:
    """The numbers in the design are the defaults."""
    found: Any = load_settings()
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


def test_settings_frozen() -> None:
    """No table of the settings can be changed, and no value in it is mutable."""
    for table in _tables(load_settings()):
        for name in type(table).model_fields:
            with pytest.raises(ValidationError):
                setattr(table, name, None)
            assert not isinstance(getattr(table, name), (list, dict, set))


@pytest.mark.parametrize("table", ["http", "mqtt"])
@pytest.mark.parametrize("given", ["tls_cert", "tls_key"])
def test_tls_half_a_pair(table: str, given: str) -> None:
    """A certificate without its key, or the other way round, is refused and both are named."""
    with pytest.raises(SettingsError, match=r"(?s)tls_cert.*tls_key") as caught:
        load_settings(flags={f"{table}.{given}": "file.pem"})
    assert table in str(caught.value)


def test_tls_bind_without_certificate() -> None:
    """A TLS listener without a certificate is refused."""
    with pytest.raises(SettingsError, match="tls_bind requires tls_cert and tls_key"):
        load_settings(flags={"mqtt.tls_bind": "127.0.0.1:0"})


def test_tls_whole_pair() -> None:
    """Certificate and key together are taken; whether the files can be read is for whoever serves."""
    settings = load_settings(
        flags={"mqtt.tls_bind": "127.0.0.1:0", "mqtt.tls_cert": "cert.pem", "mqtt.tls_key": "key.pem"}
    )
    assert str(settings.mqtt.tls_cert) == "cert.pem"


def test_mqtt_no_listener() -> None:
    """A broker that would listen nowhere is refused."""
    with pytest.raises(SettingsError, match=r"mqtt.*at least one of bind, tls_bind and ws_bind"):
        load_settings(flags={"mqtt.bind": ""})


def test_open_verifier_beyond_loopback() -> None:
    """Everyone in, from anywhere: refused, and both settings are named."""
    with pytest.raises(SettingsError) as caught:
        load_settings(flags=BEYOND)
    for key in (*BEYOND, "registration.open_beyond_loopback"):
        assert key in str(caught.value)


@pytest.mark.parametrize("bind", [":8080", "0.0.0.0:8080", "[::]:8080", "fleet.example:8080"])
def test_open_verifier_other_reachable_addresses(bind: str) -> None:
    """Every address that isn't surely loopback counts as reachable."""
    with pytest.raises(SettingsError, match="open_beyond_loopback"):
        load_settings(flags={**BEYOND, "http.bind": bind})


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param({**BEYOND, "registration.open_beyond_loopback": True}, id="said_loudly"),
        pytest.param({"registration.verifiers": "open"}, id="on_loopback"),
        pytest.param({**BEYOND, "registration.verifiers": "open,allowlist"}, id="allowlist_decides"),
    ],
)
def test_open_verifier_allowed(flags: dict[str, object]) -> None:
    """It serves on loopback, where another verifier decides, or when that is asked for by name."""
    assert "open" in load_settings(flags=flags).registration.verifiers


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("registration.verifiers", "", id="no_verifier"),
        pytest.param("registration.verifiers", "opne", id="unknown_verifier"),
        pytest.param("registration.refuse_status", 404, id="other_status"),
        pytest.param("registration.max_keys", 0, id="no_key_at_all"),
        pytest.param("registration.grace_seconds", -1, id="negative_grace"),
        pytest.param("registration.max_per_address_per_minute", -1, id="negative_limit"),
        pytest.param("access.bcrypt_rounds", 3, id="cost_below_bcrypt"),
        pytest.param("access.bcrypt_rounds", 15, id="cost_above_bound"),
        pytest.param("access.hash_workers", 0, id="no_worker"),
        pytest.param("http.bind", "", id="no_http_address"),
        pytest.param("http.bind", "localhost", id="no_port"),
        pytest.param("http.body_timeout_seconds", float("inf"), id="endless_body"),
        pytest.param("http.body_timeout_seconds", float("nan"), id="not_a_number"),
        pytest.param("http.trusted_proxies", "10.0.0.0/33", id="no_network"),
        pytest.param("mqtt.ws_bind", "127.0.0.1:65536", id="port_too_high"),
        pytest.param("mqtt.advertise_port", 65_536, id="advertised_port_too_high"),
        pytest.param("store.busy_timeout_seconds", 0, id="no_patience"),
        pytest.param("store.url", "postgresql://localhost/fleet", id="other_store"),
        pytest.param("store.url", "sqlite://fleet.db", id="two_slashes"),
        pytest.param("store.url", "sqlite:///", id="no_file"),
        pytest.param("store.url", "fleet.db", id="no_scheme"),
        pytest.param("topics.preset", "other", id="unknown_preset"),
        pytest.param("log.level", "loud", id="unknown_level"),
        pytest.param("limits.memory", "512 apples", id="unknown_unit"),
        pytest.param("limits.memory", "0.5GiB", id="half_a_number"),
        pytest.param("limits.memory", "127MiB", id="too_little_memory"),
        pytest.param("limits.disk", "1KiB", id="too_little_disk"),
        pytest.param("limits.memory_per_device", 0, id="no_share"),
        pytest.param("limits.memory", "2000TiB", id="too_much_memory"),
    ],
)
def test_bounds(key: str, value: object) -> None:
    """A value out of its bounds is refused and its key named."""
    with pytest.raises(SettingsError) as caught:
        load_settings(flags={key: value})
    assert all(part in str(caught.value) for part in key.split("."))


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ('"512MiB"', 2**29),
        ('"512 MiB"', 2**29),
        ("536870912", 2**29),
        ('"536870912"', 2**29),
        ('"1TiB"', 2**40),
        ("0", 0),
    ],
)
def test_sizes(tmp_path: Path, written: str, size: int) -> None:
    """A size is a number of bytes or a text with a unit, in the file as well."""
    path = tmp_path / "fleetkey.toml"
    path.write_text(f"[limits]\nmemory = {written}\n")
    assert load_settings(path).limits.memory == size


def test_settings_built_directly_read_no_file(tmp_path: Path) -> None:
    """`Settings()` alone takes the defaults, whatever file is in the current folder."""
    (tmp_path / "fleetkey.toml").write_text('data_dir = "elsewhere"')
    assert str(Settings().data_dir) == "fleetkey-data"
