"""Metrics: what happens on a running server is counted, and shown to whom the setting says."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fleetkey.access.protection.refusal_log import MAX_LINES_OF_ONE
from fleetkey.management import TokenService
from fleetkey.registry import Role
from tests.support.fleet import running
from tests.support.http import NOBODY_TRUSTED
from tests.support.ledger import the_ledger
from tests.support.packets import connect, publish
from tests.support.waiting import eventually
from tests.support.webhook_receiver import Receiver
from tests.support.wire import Wire
from tests.unit.docs.docs_pages import DOCS, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Fleet


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Run somebody who is told by a webhook."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Fleet]:
    """Run a server."""
    hooks = {"backend": {"url": receiver.url, "secrets": ["0123456789abcdef" * 2]}}
    environment = {"FLEETKEY_WEBHOOKS": json.dumps(hooks)}
    folder = tmp_path_factory.mktemp("server")
    with running(folder, environment=environment, max_subscriptions_per_device=1) as fleet:
        yield fleet


def _metrics(fleet: Fleet, **headers: str) -> dict[tuple[str, str], float]:
    answer = httpx.get(f"{fleet.server.url}/metrics", headers=headers, verify=NOBODY_TRUSTED)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_what_is_counted(fleet: Fleet) -> None:
    """Registrations, logins, messages, ends and bounds are counted as they happen."""
    before = _metrics(fleet)
    device = fleet.device()
    httpx.post(f"{fleet.server.url}/register", json={"serial": "SN-nobody-listed"}, verify=NOBODY_TRUSTED)
    with Wire.to(fleet) as wire:
        assert wire.log_in(connect(device.client_id, username=device.key, password="0" * 64)) == 5
    for _ in range(2):
        with Wire.to(fleet) as wire:
            wire.enter(device).subscribe(device.topic("a"))
            assert wire.subscribe(device.topic("b")) == [0x80]
            wire.send(publish(device.topic("a"), b"x") * 3)
            assert len(wire.hear(3)) == 3
            wire.disconnect()

    def grown(name: str, label: str = "") -> float:
        return _metrics(fleet).get((name, label), 0) - before.get((name, label), 0)

    assert eventually(lambda: grown("fleetkey_mqtt_disconnects_total", "disconnect") == 2)
    assert grown("fleetkey_registrations_total", "issued") == 1
    assert grown("fleetkey_registrations_total", "allowlist:not_listed") == 1
    assert grown("fleetkey_logins_total", "verified") == 1
    assert grown("fleetkey_logins_total", "remembered") == 1
    assert grown("fleetkey_logins_total", "wrong_secret") == 1
    assert grown("fleetkey_mqtt_refusals_total", "5") == 1
    assert grown("fleetkey_mqtt_messages_received_total") == 6
    assert grown("fleetkey_mqtt_messages_delivered_total") == 6
    assert grown("fleetkey_mqtt_connects_total") == 2
    assert grown("fleetkey_mqtt_bounds_reached_total", "max_subscriptions") == 2
    with Wire.to(fleet) as wire:
        wire.enter(device)
        assert _metrics(fleet)["fleetkey_mqtt_sessions", ""] == before["fleetkey_mqtt_sessions", ""] + 1


def test_refused_api_requests(fleet: Fleet) -> None:
    """Refusals of the admin API without a line in the log are counted."""
    name = "fleetkey_unlogged_refusals_total", "api_refused"
    before = _metrics(fleet).get(name, 0)
    with fleet.store() as store:
        token = TokenService(store).create("test", Role.VIEWER, actor="test").text.reveal()
    the_ledger().note_secret(token[-64:])
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, verify=NOBODY_TRUSTED) as client:
        for _ in range(MAX_LINES_OF_ONE + 3):
            assert client.get(f"{fleet.server.url}/api/v1/tokens").status_code == 403
    assert _metrics(fleet)[name] == before + 3


def test_webhooks(fleet: Fleet, receiver: Receiver) -> None:
    """How far each webhook is can be seen, and whether it fails."""

    def now(name: str) -> float:
        return _metrics(fleet).get((f"fleetkey_webhook_{name}", "backend"), -1)

    before = len(receiver.taken)
    receiver.behaviour.statuses = [500]
    fleet.device()
    assert eventually(lambda: now("failing") == 1)
    assert now("backlog_changes") > 0
    assert eventually(lambda: now("backlog_changes") == 0)
    assert len(receiver.taken) > before
    assert now("events_delivered_total") == len(receiver.taken)
    assert (now("failing"), now("events_given_up_total"), now("changes_missed_total")) == (0, 0, 0)
    assert abs(now("last_delivered_timestamp_seconds") - time.time()) < 60


def test_names_in_the_reference(fleet: Fleet) -> None:
    """Every metric of ours is explained, and no other."""
    shown = {name for name, _ in _metrics(fleet) if name.startswith("fleetkey_") and not name.endswith("_created")}
    page = (DOCS / "reference/metrics.md").read_text()
    named = {cells[0].strip("`") for cells in rows(page) if re.match(r"`fleetkey_", cells[0])}
    assert shown <= named
    # One without a label's value yet has no sample.
    assert {name for name in named - shown if not name.endswith("_total")} == set()


def test_not_through_a_proxy(fleet: Fleet) -> None:
    """By default what came through a proxy is refused, wherever it says that it came from."""
    signs = ("X-Forwarded-For", "Forwarded", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Via")
    for headers in (*({sign: "127.0.0.1"} for sign in signs), {"Host": "fleet.example.com"}):
        assert httpx.get(f"{fleet.server.url}/metrics", headers=headers, verify=NOBODY_TRUSTED).status_code == 403
    for host in ("localhost:8080", "127.0.0.1", "[::1]:8080"):
        assert (
            httpx.get(f"{fleet.server.url}/metrics", headers={"Host": host}, verify=NOBODY_TRUSTED).status_code == 200
        )


@pytest.mark.parametrize(("access", "status"), [("off", 404), ("open", 200)])
def test_setting(tmp_path_factory: pytest.TempPathFactory, access: str, status: int) -> None:
    """`off` has no such address; `open` answers whoever asks."""
    with running(tmp_path_factory.mktemp("server"), environment={"FLEETKEY_HTTP__METRICS": access}) as fleet:
        url = f"{fleet.server.url}/metrics"
        assert httpx.get(url, headers={"X-Forwarded-For": "192.0.2.1"}, verify=NOBODY_TRUSTED).status_code == status
