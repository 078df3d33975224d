"""Webhooks of a real server: in order, signed, at least once, also across a kill -9 between commit and send."""

from __future__ import annotations

import hmac
import json
import time
from typing import TYPE_CHECKING

from fleetkey.management import TokenService
from fleetkey.registry import DeviceState, Role
from tests.support.command_line import cli
from tests.support.fleet import Fleet
from tests.support.ledger import the_ledger
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.waiting import eventually
from tests.support.webhook_receiver import Receiver

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "an older secret of more than 32 characters", "the newer secret of more than 32 characters"
EVENTS = (
    '["device.pending", "device.registered", "device.approved", "device.disabled", "device.deleted", "key.revoked"]'
)


def _settings(url: str, extra: str = "") -> str:
    return f"[webhooks.backend]\nurl = '{url}'\nsecrets = ['{NEW}', '{OLD}']\nevents = {EVENTS}\n{extra}"


def _names(receiver: Receiver) -> list[str]:
    return [event["event"] for event in receiver.taken]


def _token(fleet: Fleet, role: Role, folder: Path) -> Path:
    with fleet.store() as store:
        text = TokenService(store).create(f"test-{role}", role, actor="test").text.reveal()
    the_ledger().note_secret(text[-64:])
    file = folder / f"{role}.token"
    file.write_text(text)
    return file


def test_webhook_after_kill9_between_commit_and_send(tmp_path: Path) -> None:
    """What was committed and not sent when the server was killed is sent after it is started again, in order."""
    with Receiver() as away:
        port = away.port
    # Nobody listens there now: the events are committed, and can't be sent.
    server = ServerProcess(tmp_path, environment=NO_LIMITS, settings=_settings(f"http://127.0.0.1:{port}/hook"))
    server.start()
    fleet = Fleet(server)
    devices = [fleet.device() for _ in range(3)]
    server.kill9()
    with fleet.store() as store:
        # And one that another process commits while there is no server at all.
        store.set_device_state(devices[1].device_id, DeviceState.DISABLED, actor="test")
    with Receiver(port) as receiver, server:
        assert eventually(lambda: len(receiver.taken) >= 4), server.log.read_text()
        assert [(event["event"], event["device_id"]) for event in receiver.taken] == [
            *(("device.registered", device.device_id) for device in devices),
            ("device.disabled", devices[1].device_id),
        ]
        assert receiver.taken[0]["device"]["serial"] == devices[0].serial
        assert len({event["id"] for event in receiver.taken}) == 4
        assert receiver.most_at_once == 1


def test_webhook_killed_while_sending(tmp_path: Path) -> None:
    """An event whose answer never came is sent again after a kill -9, with the same id, before the ones behind it."""
    with Receiver() as receiver:
        server = ServerProcess(tmp_path, environment=NO_LIMITS, settings=_settings(receiver.url))
        server.start()
        fleet = Fleet(server)
        receiver.behaviour.is_stuck = True
        first, second = fleet.device(), fleet.device()
        assert eventually(lambda: receiver.most_at_once == 1)
        server.kill9()
        receiver.let_go()
        assert eventually(lambda: len(receiver.requests) == 1)
        with server:
            assert eventually(lambda: len(receiver.requests) == 3)
            ids = [event["device_id"] for event in receiver.taken]
            assert ids == [first.device_id, first.device_id, second.device_id]
            assert receiver.taken[0]["id"] == receiver.taken[1]["id"]


def test_webhook_events_and_signatures(tmp_path: Path) -> None:
    """Each event once, in order of commit; both secrets sign; what fails is tried again; nothing is repeated later."""
    with Receiver() as receiver:
        receiver.behaviour.statuses = [500]
        settings = "[registration]\nrequire_approval = true\n" + _settings(receiver.url)
        with ServerProcess(tmp_path, environment=NO_LIMITS, settings=settings) as server:
            fleet = Fleet(server)
            serial = fleet.serial()
            assert fleet.post({"serial": serial}).status_code == 202
            with fleet.store() as store:
                device_id = store.list_devices()[0].device_id
                store.set_device_state(device_id, DeviceState.ACTIVE, actor="test")
                device = fleet.register(serial)
                store.revoke_key(device.key, actor="test")
                store.delete_device(device_id, actor="test")
            expected = ["device.pending", "device.approved", "device.registered", "key.revoked", "device.deleted"]
            assert eventually(lambda: _names(receiver) == expected), (_names(receiver), server.log.read_text())
            assert [request.status for request in receiver.requests[:2]] == [500, 204]
            assert receiver.requests[0].body == receiver.requests[1].body
            assert [event["serial"] for event in receiver.taken] == [serial] * len(expected)
            assert receiver.taken[-1]["device"] is None
            assert receiver.taken[3]["key"] == device.key
            assert receiver.taken[3]["reason"] == "revoked"
            for request in receiver.requests:
                stamp = request.headers["fleetkey-timestamp"]
                assert abs(int(stamp) - time.time()) < 60
                signed = stamp.encode() + b"." + request.body
                wanted = [hmac.digest(secret.encode(), signed, "sha256").hex() for secret in (NEW, OLD)]
                assert request.headers["fleetkey-signature"] == f"v1={wanted[0]},v1={wanted[1]}"
            server.restart()
            assert Fleet(server).post({"serial": fleet.serial()}).status_code == 202
            assert eventually(lambda: _names(receiver) == [*expected, "device.pending"])
            config = tmp_path / "fleetkey.toml"
            listed = cli("webhooks", "list", "--json", "--config", config, data_dir=server.data_dir).json
            assert listed[0]["delivered"] >= 5
            assert "secret" not in json.dumps(listed)
            tried = cli("webhooks", "test", "backend", "--config", config, data_dir=server.data_dir)
            assert "204" in tried.out
            assert receiver.taken[-1]["event"] == "webhook.test"
            tokens = {role: _token(fleet, role, tmp_path) for role in (Role.VIEWER, Role.OPERATOR)}
            there = ("--url", server.url, "--token-file")
            assert cli("webhooks", "list", "--json", *there, tokens[Role.VIEWER]).json[0]["delivered"] >= 5
            assert "requires the role operator" in cli("webhooks", "test", "backend", *there, tokens[Role.VIEWER]).error
            before = len(receiver.taken)
            assert "204" in cli("webhooks", "test", "backend", *there, tokens[Role.OPERATOR]).out
            assert [event["event"] for event in receiver.taken[before:]] == ["webhook.test"]
            receiver.behaviour.always = 410
            for options in (("--config", config, "--data-dir", server.data_dir), (*there, tokens[Role.OPERATOR])):
                refused = cli("webhooks", "test", "backend", *options)
                assert (refused.status, "status:410" in refused.error) == (1, True)
                unknown = cli("webhooks", "test", "other", *options)
                assert (
                    unknown.error == "fleetkey: there is no webhook 'other' in the settings; the webhooks are: backend"
                )
            assert OLD not in server.log.read_text() + refused.err


def test_webhook_that_hangs(tmp_path: Path) -> None:
    """A receiver that answers nothing slows no registration down, and neither does it a stop."""
    with Receiver() as receiver:
        receiver.behaviour.is_stuck = True
        hooks = _settings(receiver.url) + _settings(receiver.url).replace("backend", "other")
        with ServerProcess(tmp_path, environment=NO_LIMITS, settings=hooks) as server:
            fleet = Fleet(server)
            serials = [fleet.serial() for _ in range(20)]
            began = time.monotonic()
            for serial in serials:
                fleet.register(serial)
            assert time.monotonic() - began < 5
            assert receiver.most_at_once <= 2
            assert server.terminate() < 6
            receiver.let_go()
            server.start()
