"""One webhook's worker over a real registry, with a sender and a clock that the test holds."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from fleetkey.access import Secret, SharedSecretError
from fleetkey.config import WebhookSettings
from fleetkey.http_client import _root_cause
from fleetkey.registry import ApplicationScope, DeviceState, SqliteStore, Store, new_access_key
from fleetkey.webhooks import Event, EventReader, Failed, HookSecrets, HookWorker, Sent
from fleetkey.webhooks.delivery import MAX_DELAY_SECONDS, MIN_ATTEMPTS
from fleetkey.webhooks.events import MAX_EVENT_BYTES
from tests.unit.registry.store_rig import SECRET_HASH, issue, new_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

T = TypeVar("T")
REGISTERED = ("device.registered",)


class FakeSender:
    """Takes events, unless told to fail."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.tries = 0
        self.fails: Callable[[dict[str, Any]], bool] = lambda _: False

    async def send(self, event: Event) -> Sent | Failed:
        """Take or fail."""
        self.tries += 1
        await asyncio.sleep(0)
        decoded = msgspec.json.decode(event.body)
        if self.fails(decoded):
            return Failed(reason="status:500")
        self.sent.append(decoded)
        return Sent(status=204)

    @property
    def serials(self) -> list[str]:
        """Whose events were taken."""
        return [event["device"]["serial"] for event in self.sent]


async def _blocking(work: Callable[[], T], /) -> T:
    return await asyncio.to_thread(work)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A registry that keeps few changes."""
    with closing(SqliteStore(tmp_path / "fleetkey.db", max_change_rows=10)) as store:
        yield store


@asynccontextmanager
async def _working(
    store: Store, sender: FakeSender, events: tuple[str, ...] = REGISTERED, **options: Any
) -> AsyncIterator[HookWorker]:
    worker = HookWorker(
        await asyncio.to_thread(store.begin_webhook, "backend"),
        store=store,
        reader=EventReader(store, events),
        sender=sender,
        blocking=_blocking,
        **{"give_up_seconds": 3600, "first_delay_seconds": 0.001, **options},
    )
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for is in another thread
            await asyncio.sleep(0.002)


async def test_new_webhook_begins_now(store: SqliteStore) -> None:
    """What happened before a webhook was there isn't sent; its beginning is stored before anything happens."""
    issue(store, "S-before")
    sender = FakeSender()
    store.begin_webhook("backend")
    issue(store, "S-after")
    async with _working(store, sender):
        await _until(lambda: sender.sent)
    assert sender.serials == ["S-after"]
    assert store.webhook_states()[0].delivered == 1


async def test_order_through_failures(store: SqliteStore) -> None:
    """Nothing overtakes an event that fails; each is taken once."""
    store.begin_webhook("backend")
    for number in range(4):
        issue(store, f"S{number}")
    sender = FakeSender()
    sender.fails = lambda event: event["device"]["serial"] == "S1" and sender.tries < 8
    async with _working(store, sender) as worker:
        await _until(lambda: len(sender.sent) == 4)
        assert worker.state.last_error == ""
    assert sender.serials == ["S0", "S1", "S2", "S3"]
    assert sender.tries > 8


async def test_position_survives(store: SqliteStore) -> None:
    """A second worker goes on where the first one ended, and repeats nothing."""
    store.begin_webhook("backend")
    first, second = FakeSender(), FakeSender()
    issue(store, "S0")
    async with _working(store, first):
        await _until(lambda: first.sent)
    issue(store, "S1")
    async with _working(store, second):
        await _until(lambda: second.sent)
    assert (first.serials, second.serials) == (["S0"], ["S1"])


async def test_wake(store: SqliteStore) -> None:
    """A worker that waits goes on at once when it is told of a commit."""
    sender = FakeSender()
    async with _working(store, sender) as worker:
        await asyncio.sleep(0.05)
        await asyncio.to_thread(issue, store, "S0")
        worker.wake()
        await _until(lambda: sender.sent)


async def test_broken(store: SqliteStore) -> None:
    """Whatever breaks, the worker goes on, and says so meanwhile."""
    sender = FakeSender()
    states: list[str] = []

    def breaks(_: dict[str, Any]) -> bool:
        if sender.tries < 3:
            raise UnicodeError
        states.append(worker.state.last_error)
        return False

    sender.fails = breaks
    with capture_logs() as logs:
        async with _working(store, sender) as worker:
            issue(store, "S1")
            worker.wake()
            await _until(lambda: sender.sent)
    assert sender.serials == ["S1"]
    assert states == ["broken"]
    assert [line["event"] for line in logs] == ["webhook_broken"] * 2


async def test_give_up(store: SqliteStore) -> None:
    """An event whose time is over is tried a few times more, then passed over, loudly and counted; others follow."""
    store.begin_webhook("backend")
    issue(store, "S-refused")
    issue(store, "S-taken")
    sender = FakeSender()
    sender.fails = lambda event: event["device"]["serial"] == "S-refused"
    with capture_logs() as logs:
        async with _working(store, sender, give_up_seconds=-1):
            await _until(lambda: sender.sent)
    assert sender.serials == ["S-taken"]
    assert sender.tries == MIN_ATTEMPTS + 1
    state = store.webhook_states()[0]
    assert (state.given_up, state.delivered) == (1, 1)
    assert [line["log_level"] for line in logs if line["event"] == "webhook_gave_up"] == ["error"]


async def test_missed(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes that were dropped from the feed before they were sent are an error in the log, and counted."""
    monkeypatch.setattr("fleetkey.registry.sqlite.journal.TRIM_EVERY", 10)
    store.begin_webhook("backend")
    for number in range(20):
        issue(store, f"S{number}")
    oldest, newest = store.change_bounds()
    assert oldest > 1
    sender = FakeSender()
    with capture_logs() as logs:
        async with _working(store, sender):
            await _until(lambda: sender.serials[-1:] == ["S19"])
    state = store.webhook_states()[0]
    assert (state.missed, state.position) == (oldest - 1, newest)
    assert [line["changes"] for line in logs if line["event"] == "webhook_changes_missed"] == [oldest - 1]


async def test_position_behind_the_feed(store: SqliteStore) -> None:
    """With a registry that ends before the stored position, it goes on at the end, loudly, instead of never."""
    state = store.begin_webhook("backend")
    store.save_webhook(type(state)(name="backend", position=1_000))
    sender = FakeSender()
    with capture_logs() as logs:
        async with _working(store, sender) as worker:
            await _until(lambda: worker.state.position == 0)
            await asyncio.to_thread(issue, store, "S0")
            worker.wake()
            await _until(lambda: sender.sent)
    assert [line["event"] for line in logs] == ["webhook_position_lost"]


async def test_delays(store: SqliteStore) -> None:
    """Pauses grow twofold and are bounded."""
    async with _working(store, FakeSender(), first_delay_seconds=1.0) as worker:
        delays = []
        for failures in (1, 2, 3, 9, 10_000):
            worker._failures = failures
            delays.append(worker._delay_seconds())
    for delay, most in zip(delays, (1, 2, 4, 256, MAX_DELAY_SECONDS), strict=True):
        assert 0.8 * most <= delay <= most


async def test_events_chosen(store: SqliteStore) -> None:
    """A webhook is told of the events that it asked for, and of no other; keys say why they ended."""
    store.begin_webhook("backend")
    key, device_id = issue(store, "S0", max_keys=1)
    application = new_access_key()
    store.create_application_key(
        key=application, secret_hash=SECRET_HASH, name="a", scope=ApplicationScope(all_devices=True), actor="test"
    )
    store.issue_device_key(new_request("S1", require_approval=True))
    store.set_device_state(device_id, DeviceState.DISABLED, actor="test")
    store.set_device_state(device_id, DeviceState.ACTIVE, actor="test")
    store.revoke_key(application, actor="test")
    store.delete_device(device_id, actor="test")
    sender = FakeSender()
    async with _working(store, sender, ("device.pending", "device.disabled", "device.deleted", "key.revoked")):
        await _until(lambda: len(sender.sent) == 4)
    assert [event["event"] for event in sender.sent] == [
        "device.pending",
        "device.disabled",
        "key.revoked",
        "device.deleted",
    ]
    assert sender.sent[2]["key"] == application
    assert sender.sent[3]["device"] is None
    assert key not in str(sender.sent)
    assert SECRET_HASH not in str(sender.sent)


def test_event_bounded(store: SqliteStore) -> None:
    """An event with more labels than fit goes without them."""
    labels = {f"{number:0128}": "\N{SNOWMAN}" * 128 for number in range(64)}
    issue(store, "S0", tags=labels, attributes=labels)
    items = EventReader(store, REGISTERED).read(0).items
    (event,) = [event for _, event in items if event is not None]
    assert len(event.body) < MAX_EVENT_BYTES
    assert msgspec.json.decode(event.body)["device"]["truncated"] is True


def test_secrets_from_a_file(tmp_path: Path) -> None:
    """A file holds one secret a line; each signs; the time is part of what is signed."""
    file = tmp_path / "secrets"
    file.write_text("a" * 32 + "\n" + "b" * 32 + "\n")
    settings = WebhookSettings(url="http://127.0.0.1/", secret_file=file)
    headers = HookSecrets.from_settings("backend", settings).headers(b"{}", at=1)
    assert headers["Fleetkey-Signature"].count("v1=") == 2
    only = HookSecrets([Secret("b" * 32)])
    assert only.headers(b"{}", at=1)["Fleetkey-Signature"] in headers["Fleetkey-Signature"]
    assert only.headers(b"{}", at=2)["Fleetkey-Signature"] not in headers["Fleetkey-Signature"]


@pytest.mark.parametrize(
    "content",
    ["", "a" * 31, "a" * 32 + "\nshort\n", "\n".join(["a" * 32] * 6)],
    ids=["empty", "short", "one_short", "many"],
)
def test_secrets_unusable(tmp_path: Path, content: str) -> None:
    """Too short, too many or none at all is an error that names the setting and no secret."""
    file = tmp_path / "secrets"
    file.write_text(content)
    settings = WebhookSettings(url="http://127.0.0.1/", secret_file=file)
    with pytest.raises(SharedSecretError, match=r"webhooks\.backend\.secret_file") as caught:
        HookSecrets.from_settings("backend", settings)
    assert "a" * 31 not in str(caught.value)


def _chain(*errors: BaseException) -> BaseException:
    for outer, inner in itertools.pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


def _untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("behind", "reason"),
    [
        pytest.param([ConnectionRefusedError(111, "to somewhere")], "Connection refused", id="refused"),
        pytest.param([OSError("all failed"), ConnectionRefusedError(111, "x")], "Connection refused", id="deeper"),
        pytest.param([ExceptionGroup("all", [OSError(113, "x")])], "No route to host", id="several_addresses"),
        pytest.param([socket.gaierror(-2, "Name or service not known")], "name: Name or service not known", id="name"),
        pytest.param([_untrusted()], "certificate: self-signed certificate", id="certificate"),
        pytest.param([], "ConnectError", id="nothing"),
    ],
)
def test_root_cause(behind: list[BaseException], reason: str) -> None:
    """The underlying error is described in the system's words, never in the library's, which may contain the URL."""
    assert _root_cause(_chain(httpx.ConnectError("https://fleet.example.com/?token=geheim"), *behind)) == reason
