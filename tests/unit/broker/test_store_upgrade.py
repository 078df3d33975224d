"""A `broker.db` of before MQTT 5: everything in it is there after the upgrade, with what MQTT 3.1.1 implies."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from sqlite_utils import Database

from fleetkey.broker.codec import SubscriptionOptions
from fleetkey.broker.store.loading import drop_strays, load_all
from fleetkey.broker.store.schema import migrations, open_broker_database

if TYPE_CHECKING:
    from pathlib import Path


def _write_older(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrations.apply(Database(connection, execute_plugins=False), stop_before="0005_mqtt_5")
        connection.executescript(
            """
            INSERT INTO sessions (row, client_id, owner, expires_at)
              VALUES (1, 'away', 'key', 50.0), (2, 'here', 'key', NULL);
            INSERT INTO subscriptions (session, filter, qos, owed) VALUES (1, 'a/#', 2, 0), (2, 'b', 1, 7);
            INSERT INTO messages (row, topic, payload, owner, time)
              VALUES (5, 'a/1', x'01', 'dev', 9), (6, 'b', x'02', 'dev', 9);
            INSERT INTO deliveries (row, session, message, qos, packet_id, is_released, is_retained, sent)
              VALUES (1, 1, 5, 1, 0, 0, 0, 0), (2, 2, 5, 2, 3, 1, 0, 1);
            INSERT INTO inbound VALUES (1, 77);
            INSERT INTO retained (topic, message, qos) VALUES ('b', 6, 1);
            """
        )


def test_upgraded(tmp_path: Path) -> None:
    """Sessions, options, queues and retained messages; nothing expires earlier, and no will waits."""
    path = tmp_path / "broker.db"
    _write_older(path)
    with closing(open_broker_database(path)) as connection:
        stored = load_all(connection)
    away, here = stored.sessions
    assert [(each.client_id, each.expires_at, each.expiry_seconds, each.will) for each in (away, here)] == [
        ("away", 50.0, None, None),
        ("here", None, None, None),
    ]
    assert away.subscriptions == {"a/#": SubscriptionOptions(2)}
    assert here.subscriptions == {"b": SubscriptionOptions(1)}
    assert here.owed == {"b": 7}
    (waiting,), (released,) = away.deliveries, here.deliveries
    assert (waiting.message.topic, waiting.message.payload, waiting.qos, waiting.identifiers) == ("a/1", b"\1", 1, ())
    assert (waiting.message.properties, waiting.message.expires_at) == (b"", None)
    assert (released.packet_id, released.is_released) == (3, True)
    assert away.inbound == {77}
    (kept,) = stored.retained
    assert (kept.topic, kept.payload, kept.qos, kept.owner) == ("b", b"\2", 1, "dev")


def test_session_that_ended_with_the_process(tmp_path: Path) -> None:
    """A client that was connected and asked for no session any more has none after a kill -9, nor what was in it."""
    path = tmp_path / "broker.db"
    _write_older(path)
    with closing(open_broker_database(path)) as connection:
        connection.execute("UPDATE sessions SET expiry_seconds = 0")

    with closing(open_broker_database(path)) as connection:
        drop_strays(connection)
        (left,) = load_all(connection).sessions
        assert left.client_id == "away"
        assert connection.execute("SELECT count(*) FROM deliveries").fetchone() == (1,)
