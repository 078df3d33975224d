"""`fleetkey webhooks`, and settings of webhooks that can't be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.webhook_receiver import Receiver

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine

SECRET = "a secret of rather more than 32 characters"


def _settings(url: str) -> str:
    return f"[webhooks.backend]\nurl = '{url}'\nsecrets = ['{SECRET}']\nevents = ['device.pending']\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("url = 'http://fleet.example.com/hook'", "https"),
        ("url = 'https://user:word@fleet.example.com/hook'", "password"),
        ("secrets = ['short']", "too short"),
        ("secrets = []", "secret_file"),
        ("secret_file = 'nowhere'", "secret_file"),
        ("ca_file = 'nowhere'", "setting webhooks.backend.ca_file: nowhere can't be used"),
        ("events = ['device.exploded']", "webhooks.backend.events"),
        ("events = []", "webhooks.backend.events"),
        ("nope = 1", "unknown setting"),
    ],
)
def test_settings_refused(fleetkey: CommandLine, change: str, says: str) -> None:
    """Wrong settings keep the server from starting, in one sentence that names what is wrong and no secret."""
    setting = change.partition(" ")[0]
    lines = [line for line in _settings("http://127.0.0.1:1/hook").splitlines() if not line.startswith(f"{setting} ")]
    (fleetkey.folder / "fleetkey.toml").write_text("\n".join([*lines, change, ""]))
    refused = fleetkey.error("serve", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", status=2)
    assert says in refused
    assert SECRET not in refused
    assert "user:word" not in refused


def test_webhooks_list(fleetkey: CommandLine) -> None:
    """Each webhook of the settings is there, with where it is, and without what may be a secret in its address."""
    (fleetkey.folder / "fleetkey.toml").write_text(_settings("https://fleet.example.com/token/abc?key=def"))
    with fleetkey.store() as store:
        store.begin_webhook("backend")
        store.begin_webhook("forgotten")
    fleetkey.device()
    (listed,) = fleetkey.json("webhooks", "list")
    assert (listed["name"], listed["to"], listed["behind"]) == ("backend", "https://fleet.example.com/…", 2)
    assert "abc" not in fleetkey.text("webhooks", "list")


def test_webhooks_test(fleetkey: CommandLine) -> None:
    """A trial is posted once; its answer decides the exit status; nothing else is sent."""
    with Receiver() as receiver:
        (fleetkey.folder / "fleetkey.toml").write_text(_settings(receiver.url))
        fleetkey.device()
        assert fleetkey.json("webhooks", "test", "backend")["status"] == 204
        assert [event["event"] for event in receiver.taken] == ["webhook.test"]
        receiver.behaviour.always = 302
        assert "status:302" in fleetkey.error("webhooks", "test", "backend")
    assert "unreachable:Connection refused" in fleetkey.error("webhooks", "test", "backend")
    assert "the webhooks are: backend" in fleetkey.error("webhooks", "test", "other")
