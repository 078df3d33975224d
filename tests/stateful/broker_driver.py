"""A running broker on a folder of its own, what an operator does to its registry, and a way to know that it arrived."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self
from unittest.mock import patch

from fleetkey.access import hash_secret, new_secret
from fleetkey.broker import ListenerName
from fleetkey.cli.serve import runtime
from fleetkey.cli.serve.embedded_server import EmbeddedServer
from fleetkey.config import Settings
from fleetkey.registry import (
    ApplicationScope,
    DeviceState,
    IssueRequest,
    KeyIssued,
    Reregistration,
    SqliteStore,
    new_access_key,
)
from tests.stateful.session_model import Key, Violation
from tests.support.packets import connect
from tests.support.streams import TcpStream, WebSocketStream
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.registry import Store

__all__ = ["BrokerDriver"]

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - used only if it is there; a commit to a disk takes ten times as long
MAX_INFLIGHT = 8
"""Small, so that messages wait for their turn."""
BCRYPT_ROUNDS = 4
TEMPLATES = ("devices/{device_id}/#", "site/{tag:site}/#")


class _BrokerAlone(EmbeddedServer):
    """A server whose HTTP side serves nothing: nobody speaks it here, and building it is most of what a start costs."""

    def __enter__(self) -> Self:
        with patch.object(runtime, "build_api", _nothing), patch.object(runtime, "build_app", _nothing):
            return super().__enter__()


def _nothing(**_: object) -> None:
    return None


class BrokerDriver:
    """Starts, stops, cuts off and administers one server.

    A canary device tells when a change has arrived at the broker: the feed has an order, so what was committed before
    the canary was disabled is there when the canary is disconnected.
    """

    change_seconds = 5.0
    """How long a change may take to arrive; other tests hold it to one second."""
    _stopping: list[threading.Thread] = []  # noqa: RUF012 - shared on purpose

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fleetkey-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        self._starts = 0
        self._data_dir = self._folder / "0"
        self._wires: list[Wire] = []
        self._server: EmbeddedServer | None = None
        self._start()
        self._canary_id, self._canary_key = self.register("canary")
        self.tag(self._canary_id, "nowhere")
        self._canary = self._connect_canary()

    def open(self, *, websocket: bool = False) -> Wire:
        """Return a new connection; `close` closes it if nobody else did."""
        assert self._server is not None
        port = self._server.mqtt_port(ListenerName.WEBSOCKET if websocket else ListenerName.TCP)
        wire = Wire(WebSocketStream(TcpStream(port)) if websocket else TcpStream(port))
        self._wires.append(wire)
        return wire

    @contextmanager
    def stopping(self) -> Iterator[threading.Thread]:
        """Stop the server in order, in a thread to be joined, and start it again on the same data."""
        server, self._server = self._server, None
        assert server is not None
        thread = threading.Thread(target=server.__exit__)
        thread.start()
        yield thread
        self._start()
        self._canary = self._connect_canary()

    def cut(self) -> None:
        """Go on with the data as they are at this moment, as after a kill -9: the server has no time to write more.

        What it wrote is a copy of its two databases as committed; a process of its own, killed, would take a second.
        """
        data_dir = self._folder / str(self._starts)
        data_dir.mkdir()
        for path in self._data_dir.glob("*.db"):
            with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(data_dir / path.name)) as target:
                source.backup(target)
        self._stop_later(self._data_dir)
        self._data_dir = data_dir
        self._start()
        self._canary = self._connect_canary()

    def close(self) -> None:
        """Stop for good."""
        self._stop_later(self._folder)

    @classmethod
    def wait_for_all(cls) -> None:
        """Return when every server that was closed has stopped."""
        while cls._stopping:
            cls._stopping.pop().join()

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Return the registry, whether the server runs or not."""
        if self._server is not None:
            yield self._server.store
        else:
            with closing(SqliteStore(self._data_dir / "fleetkey.db")) as store:
                yield store

    def register(self, serial: str) -> tuple[str, Key]:
        """Register a serial, or register it again: its older keys end when the new one first connects."""
        key, secret = new_access_key(), new_secret()
        request = IssueRequest(
            serial=serial,
            key=key,
            secret_hash=hash_secret(secret, BCRYPT_ROUNDS),
            reregistration=Reregistration.ROTATE,
            grace_seconds=86_400,
            max_keys=50,
            require_approval=False,
        )
        with self.store() as store:
            issued = store.issue_device_key(request)
        assert isinstance(issued, KeyIssued)
        return issued.device.device_id, Key(key=key, secret=secret.reveal())

    def new_application_key(self, name: str, scope: ApplicationScope) -> Key:
        """Make an application key."""
        key, secret = new_access_key(), new_secret()
        secret_hash = hash_secret(secret, BCRYPT_ROUNDS)
        with self.store() as store:
            store.create_application_key(key=key, secret_hash=secret_hash, name=name, scope=scope, actor="test")
        return Key(key=key, secret=secret.reveal())

    def set_enabled(self, device_id: str, *, is_enabled: bool) -> None:
        """Enable or disable a device."""
        state = DeviceState.ACTIVE if is_enabled else DeviceState.DISABLED
        with self.store() as store:
            store.set_device_state(device_id, state, actor="test")

    def tag(self, device_id: str, site: str) -> None:
        """Move a device to a site."""
        with self.store() as store:
            store.tag_device(device_id, {"site": site}, actor="test")

    def wait_for_changes(self) -> None:
        """Return when all that was committed to the registry so far has arrived."""
        self.set_enabled(self._canary_id, is_enabled=False)
        if not self._canary.is_closed_by_broker(self.change_seconds):
            msg = f"a change did not arrive within {self.change_seconds} s"
            raise Violation(msg)
        self.set_enabled(self._canary_id, is_enabled=True)
        self._canary = self._connect_canary()

    def wait_for_commit(self) -> None:
        """Return when the broker has committed all that it noted so far: a SUBACK waits for that."""
        self._canary.subscribe(f"devices/{self._canary_id}/x")

    def _start(self) -> None:
        self._starts += 1
        settings = Settings(
            data_dir=self._data_dir,
            http={"bind": "127.0.0.1:0"},
            mqtt={"bind": "127.0.0.1:0", "ws_bind": "127.0.0.1:0", "max_inflight": MAX_INFLIGHT},
            topics={"publish": TEMPLATES, "subscribe": TEMPLATES},
            access={"max_failures_per_address_per_minute": 0, "max_failures_per_key_per_minute": 0},
        )
        self._server = _BrokerAlone(settings).__enter__()

    def _stop_later(self, folder: Path) -> None:
        """Stop the server meanwhile, which takes it a fifth of a second, and remove a folder."""
        server, self._server = self._server, None
        wires, self._wires = self._wires, []

        def stop() -> None:
            if server is not None:
                server.__exit__()
            # Two of these may be at work at once: one on a part of the other's folder.
            shutil.rmtree(folder, ignore_errors=True)

        for wire in wires:
            wire.close()
        self._stopping.append(threading.Thread(target=stop))
        self._stopping[-1].start()

    def _connect_canary(self) -> Wire:
        wire, key = self.open(), self._canary_key
        code = wire.log_in(connect(self._canary_id, key.key, key.secret, clean=False, keep_alive_seconds=0))
        if code != 0:
            msg = f"the canary was not let in: {code}"
            raise Violation(msg)
        return wire
