"""Refusal records in SQLite: added in batches, found newest first, and bounded for each owner and for strangers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fleetkey.registry.model import RefusalListener, RefusalPage, RefusalReason, RefusalRecord, RefusalStage
from fleetkey.registry.sqlite.journal import SqliteJournal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from fleetkey.registry.model import RefusalFilter, RefusalIncrement

__all__ = ["SqliteRefusals"]

COLUMNS = (
    "position, stage, reason, count, first_at, last_at, listener, address, serial, key, client_id, topic, detail,"
    " device_id, is_proven, is_known"
)
ADD = f"""
WITH noted AS (
  SELECT key + ? AS position, {", ".join(f"json_extract(value, '$[{place}]')" for place in range(15))}
  FROM json_each(?)
),
named (
  position, stage, reason, count, first_at, last_at, listener, address, serial, key, client_id, topic, detail,
  proven_id, is_proven, claimant
) AS (SELECT * FROM noted),
found AS (
  SELECT named.*,
    coalesce(
      (SELECT device_id FROM devices WHERE device_id = proven_id),
      (SELECT devices.device_id FROM access_keys JOIN devices ON devices.device_id = access_keys.device_id
         WHERE access_keys.key = named.key),
      (SELECT device_id FROM devices WHERE serial = named.serial)
    ) AS device_id,
    EXISTS (SELECT 1 FROM access_keys WHERE key = named.key) AS is_key,
    EXISTS (SELECT 1 FROM serials WHERE serial = named.serial) AS is_listed
  FROM named
)
INSERT INTO refusals (identity, {COLUMNS})
SELECT
  CASE WHEN device_id IS NOT NULL THEN 'device:' || device_id
    WHEN is_key THEN 'key:' || key
    WHEN is_listed THEN 'serial:' || serial
    ELSE claimant END,
  position, stage, reason, count, first_at, last_at, listener, address, serial, key, client_id, topic, detail,
  device_id, is_proven, device_id IS NOT NULL OR is_key OR is_listed
FROM found WHERE true
ON CONFLICT (identity, stage, reason) DO UPDATE SET
  position = excluded.position,
  count = count + excluded.count,
  first_at = min(first_at, excluded.first_at),
  last_at = max(last_at, excluded.last_at),
  listener = excluded.listener,
  address = iif(excluded.address = '', address, excluded.address),
  serial = coalesce(excluded.serial, serial),
  key = coalesce(excluded.key, key),
  client_id = coalesce(excluded.client_id, client_id),
  topic = coalesce(excluded.topic, topic),
  detail = excluded.detail,
  device_id = excluded.device_id,
  is_proven = excluded.is_proven,
  is_known = excluded.is_known
"""  # noqa: S608 - the columns are ours
TRIM_OWNERS = """
DELETE FROM refusals WHERE id IN (
  SELECT id FROM (
    SELECT id, row_number() OVER (PARTITION BY identity ORDER BY position DESC) AS place FROM refusals
    WHERE identity IN (SELECT identity FROM refusals WHERE is_known = 1 AND position > ?)
  ) WHERE place > ?
)"""
TRIM = """
DELETE FROM refusals WHERE is_known = {known} AND position <=
  (SELECT position FROM refusals WHERE is_known = {known} ORDER BY position DESC LIMIT 1 OFFSET ?)"""
SLACK = 100
"""One in so many records over a bound may stay, so that they aren't all counted at each batch."""
DROP = "DELETE FROM refusals WHERE id IN (SELECT value FROM json_each(?))"
DROP_BATCH = 5_000
"""How many old records are deleted in one transaction."""
DAY_MS = 86_400_000


class SqliteRefusals(SqliteJournal):
    """Adding and finding refusal records."""

    def add_refusals(self, increments: Sequence[RefusalIncrement]) -> None:
        """Add refusals to the records of their clients, in one transaction; then delete what is over a bound."""
        if not increments:
            return
        rows = [
            (
                one.stage,
                one.reason,
                one.count,
                one.first_at,
                one.last_at,
                one.listener,
                one.address,
                one.serial,
                one.key,
                one.client_id,
                one.topic,
                one.detail,
                one.device_id,
                int(one.is_proven),
                one.claimant,
            )
            for one in increments
        ]
        with self._writing() as database:
            connection = database.conn
            (newest,) = connection.execute("SELECT coalesce(max(position), 0) FROM refusals").fetchone()
            # One statement for all, as for presence: SQLite runs without the GIL, so the broker isn't held up.
            connection.execute(ADD, (newest + 1, json.dumps(rows)))
            connection.execute(TRIM_OWNERS, (newest, self._max_refusals_per_device))
            for known, most in ((1, self._max_refusals), (0, self._max_stranger_refusals)):
                step = max(1, most // SLACK)
                if newest // step != (newest + len(rows)) // step:
                    # The flag is a literal: only then does SQLite use the index well.
                    connection.execute(TRIM.format(known=known), (most,))

    def find_refusals(self, wanted: RefusalFilter, *, before: int | None = None, limit: int = 100) -> RefusalPage:
        """Return up to `limit` matching records before a position, or the newest; newest first."""
        text, parameters = "1", list[int | str]()
        for column in ("device_id", "serial", "key", "client_id", "address", "stage", "reason"):
            value = getattr(wanted, column)
            if value is not None:
                text += f" AND {column} = ?"
                parameters.append(value)
        if wanted.since is not None:
            text += " AND last_at >= ?"
            parameters.append(wanted.since)
        if before is not None:
            text += " AND position < ?"
            parameters.append(before)
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM refusals WHERE {text} ORDER BY position DESC LIMIT ?",  # noqa: S608 - ours
                [*parameters, limit],
            ).fetchall()
        records = tuple(_record(row) for row in rows if row[2] in KNOWN_REASONS)
        return RefusalPage(records=records, reached=rows[-1][0] if rows and len(rows) == limit else None)

    def drop_old_refusals(self, *, days: int) -> int:
        """Delete up to `DROP_BATCH` records whose last refusal is older than this many days; return how many."""
        with self._reading() as connection:
            if not self._old(connection, days, 1):
                return 0
        with self._writing() as database:
            old = self._old(database.conn, days, DROP_BATCH)
            database.conn.execute(
                "DELETE FROM refusals WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(old),)
            )
            return len(old)

    def _old(self, connection: sqlite3.Connection, days: int, limit: int) -> list[int]:
        query = "SELECT id FROM refusals WHERE last_at < ? ORDER BY last_at LIMIT ?"
        return [number for (number,) in connection.execute(query, (self._now() - days * DAY_MS, limit))]


KNOWN_REASONS = frozenset(RefusalReason)
"""A later version's record isn't shown: its reason can't be explained here."""


def _record(row: tuple[Any, ...]) -> RefusalRecord:
    values = dict(zip(COLUMNS.split(", "), row, strict=True))
    kinds = {
        "stage": RefusalStage,
        "reason": RefusalReason,
        "listener": RefusalListener,
        "is_proven": bool,
        "is_known": bool,
    }
    return RefusalRecord(**{**values, **{name: kind(values[name]) for name, kind in kinds.items()}})
