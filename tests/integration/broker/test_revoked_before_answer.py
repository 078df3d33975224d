"""A key that is revoked while its CONNECT is being answered."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import httpx

from fleetkey.broker.store import BrokerStore
from fleetkey.cli.serve.embedded_server import EmbeddedServer
from fleetkey.config import load_settings
from tests.support.http import NOBODY_TRUSTED
from tests.support.ledger import the_ledger
from tests.support.mqtt import MqttClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

NOT_AUTHORIZED = 5


def test_revoked_before_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused like any other, however far it was: CONNACK 5, not a connection that is cut without a word."""
    file = tmp_path / "fleetkey.toml"
    file.write_text("[http]\nbind = '127.0.0.1:0'\n[mqtt]\nbind = '127.0.0.1:0'\n")
    with EmbeddedServer(load_settings(file, {"data_dir": tmp_path / "data"})) as server:
        server.store.add_serials(["S1"], actor="test")
        answer = httpx.post(
            f"{server.runtime.http_url()}/register", json={"serial": "S1"}, verify=NOBODY_TRUSTED
        ).json()
        the_ledger().note_secret(answer["secret"])

        def client(*, clean: bool) -> MqttClient:
            return MqttClient(
                port=answer["mqtt"]["port"],
                client_id=answer["deviceId"],
                key=answer["key"],
                secret=answer["secret"],
                clean=clean,
            )

        with client(clean=False) as stored:
            assert stored.return_code == 0
        after_commit = BrokerStore.after_commit

        def late(store: BrokerStore, callback: Callable[[bool], None]) -> None:
            loop = asyncio.get_running_loop()

            def wait(is_stored: bool) -> None:  # noqa: FBT001 - the store's callback
                loop.call_later(1, callback, is_stored)

            after_commit(store, wait)
            server.store.revoke_key(answer["key"], actor="test")

        monkeypatch.setattr(BrokerStore, "after_commit", late)
        began = time.monotonic()
        with client(clean=True) as refused:
            assert refused.return_code == NOT_AUTHORIZED
        assert time.monotonic() - began < 1
