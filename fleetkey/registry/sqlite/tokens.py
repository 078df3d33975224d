"""The tokens of the admin API in SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetkey.registry.errors import NotFoundError
from fleetkey.registry.model import Role, Token, TokenVerifier
from fleetkey.registry.plans import audit_entries
from fleetkey.registry.sqlite.journal import SqliteJournal

if TYPE_CHECKING:
    import sqlite3

__all__ = ["SqliteTokens"]

COLUMNS = "token_id, name, role, created_at, created_by, expires_at, revoked_at"


class SqliteTokens(SqliteJournal):
    """Creating, finding and revoking tokens."""

    def create_token(
        self, *, token_id: str, token_hash: bytes, name: str, role: Role, expires_at: int | None, actor: str
    ) -> Token:
        """Store a token."""
        with self._writing() as database:
            connection = database.conn
            connection.execute(
                "INSERT INTO tokens (token_id, token_hash, name, role, created_at, created_by, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (token_id, token_hash, name, role, self._now(), str(actor), expires_at),
            )
            token = self._token(connection, token_id)
            self._audit(connection, audit_entries.token_created(token, actor=actor))
            return token

    def find_token(self, token_id: str) -> TokenVerifier | None:
        """Return everything that decides whether a token is valid."""
        with self._reading() as connection:
            row = connection.execute(
                f"SELECT {COLUMNS}, token_hash FROM tokens WHERE token_id = ?",  # noqa: S608 - the columns are ours
                (token_id,),
            ).fetchone()
        return TokenVerifier(token=_token_from(row), token_hash=row[-1]) if row else None

    def list_tokens(self, *, after: int = 0, limit: int = 100, include_ended: bool = False) -> list[tuple[int, Token]]:
        """Return up to `limit` (position, token) pairs after position `after`, oldest first."""
        live = "" if include_ended else " AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"
        parameters = [after, limit] if include_ended else [after, self._now(), limit]
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS}, seq FROM tokens WHERE seq > ?{live} ORDER BY seq LIMIT ?",  # noqa: S608 - ours
                parameters,
            ).fetchall()
        return [(row[-1], _token_from(row)) for row in rows]

    def revoke_token(self, token_id: str, *, actor: str) -> Token:
        """Revoke a token for good."""
        with self._writing() as database:
            connection = database.conn
            token = self._token(connection, token_id)
            if token.revoked_at is None:
                connection.execute("UPDATE tokens SET revoked_at = ? WHERE token_id = ?", (self._now(), token_id))
                self._audit(connection, audit_entries.token_revoked(token, actor=actor))
            return self._token(connection, token_id)

    def _token(self, connection: sqlite3.Connection, token_id: str) -> Token:
        row = connection.execute(f"SELECT {COLUMNS} FROM tokens WHERE token_id = ?", (token_id,)).fetchone()  # noqa: S608 - the columns are ours
        if row is None:
            raise NotFoundError("token", token_id)
        return _token_from(row)


def _token_from(row: tuple[Any, ...]) -> Token:
    return Token(
        token_id=row[0],
        name=row[1],
        role=Role(row[2]),
        created_at=row[3],
        created_by=row[4],
        expires_at=row[5],
        revoked_at=row[6],
    )
