"""The tokens of the admin API in any store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import NotFoundError, Role
from tests.unit.registry.store_rig import JournalReader

if TYPE_CHECKING:
    from fleetkey.registry import Store, Token
    from tests.unit.registry.store_rig import FakeClock

HASH = b"\x00\xff hash"


def _create(store: Store, token_id: str, expires_at: int | None = None) -> Token:
    return store.create_token(
        token_id=token_id,
        token_hash=HASH,
        name=f"of {token_id}",
        role=Role.OPERATOR,
        expires_at=expires_at,
        actor="anna",
    )


def test_create_token(store: Store, clock: FakeClock) -> None:
    """A token is kept as it was made, and its hash is found, but never shown."""
    journal = JournalReader(store)
    token = _create(store, "t1", expires_at=clock.milliseconds + 5)
    assert (token.token_id, token.name, token.role, token.created_by) == ("t1", "of t1", Role.OPERATOR, "anna")
    assert (token.created_at, token.expires_at, token.revoked_at) == (clock.milliseconds, clock.milliseconds + 5, None)
    found = store.find_token("t1")
    assert found is not None
    assert (found.token, found.token_hash) == (token, HASH)
    assert repr(HASH) not in repr(found)
    assert store.find_token("t2") is None
    assert journal.read() == ([], ["token_created:ok"])
    assert store.last_audit(1)[0].reason == "id=t1 role=operator name=of t1"


def test_revoke_token(store: Store, clock: FakeClock) -> None:
    """A token is revoked once; an unknown one is an error."""
    _create(store, "t1")
    journal = JournalReader(store)
    revoked = store.revoke_token("t1", actor="bert")
    assert revoked.revoked_at == clock.milliseconds
    clock.advance(1)
    assert store.revoke_token("t1", actor="bert") == revoked
    assert journal.read() == ([], ["token_revoked:ok"])
    with pytest.raises(NotFoundError):
        store.revoke_token("t2", actor="bert")


def test_list_tokens(store: Store, clock: FakeClock) -> None:
    """Pages in order of making; those that are revoked or expired only when asked for."""
    for number in range(5):
        _create(store, f"t{number}", expires_at=clock.milliseconds + 1_000 if number == 1 else None)
    store.revoke_token("t2", actor="anna")
    clock.advance(1)
    assert [token.token_id for _, token in store.list_tokens()] == ["t0", "t3", "t4"]
    pages: list[tuple[int, str]] = []
    while page := store.list_tokens(after=pages[-1][0] if pages else 0, limit=2, include_ended=True):
        pages += [(position, token.token_id) for position, token in page]
    assert [token_id for _, token_id in pages] == [f"t{number}" for number in range(5)]
