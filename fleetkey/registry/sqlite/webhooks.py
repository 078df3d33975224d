"""The progress of webhooks in SQLite."""

from __future__ import annotations

from fleetkey.registry.model import WebhookState
from fleetkey.registry.sqlite.connection import SqliteBase

__all__ = ["SqliteWebhooks"]

COLUMNS = "name, position, delivered, given_up, missed, delivered_at, last_error"


class SqliteWebhooks(SqliteBase):
    """Reading and storing positions."""

    def begin_webhook(self, name: str) -> WebhookState:
        """Return a webhook's state; a new one starts after the newest change, and is stored."""
        with self._writing() as database:
            row = database.conn.execute(
                "INSERT INTO webhooks (name, position) VALUES (?, (SELECT coalesce(max(seq), 0) FROM changes))"  # noqa: S608 - the columns are ours
                f" ON CONFLICT (name) DO UPDATE SET position = position RETURNING {COLUMNS}",
                (name,),
            ).fetchone()
        return _state_from(row)

    def save_webhook(self, state: WebhookState) -> None:
        """Store a webhook's state."""
        with self._writing() as database:
            database.conn.execute(
                f"INSERT OR REPLACE INTO webhooks ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - the columns are ours
                (
                    state.name,
                    state.position,
                    state.delivered,
                    state.given_up,
                    state.missed,
                    state.delivered_at,
                    state.last_error,
                ),
            )

    def webhook_states(self) -> list[WebhookState]:
        """Return all webhooks that were ever started, ordered by name."""
        with self._reading() as connection:
            rows = connection.execute(f"SELECT {COLUMNS} FROM webhooks ORDER BY name").fetchall()  # noqa: S608 - the columns are ours
        return [_state_from(row) for row in rows]


def _state_from(row: tuple[str, int, int, int, int, int | None, str]) -> WebhookState:
    name, position, delivered, given_up, missed, delivered_at, last_error = row
    return WebhookState(
        name=name,
        position=position,
        delivered=delivered,
        given_up=given_up,
        missed=missed,
        delivered_at=delivered_at,
        last_error=last_error,
    )
