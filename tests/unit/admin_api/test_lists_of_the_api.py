"""A page in several parts goes on only as long as its token is valid."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.access import WorkerPool
from fleetkey.admin_api.auth import BEARER, Authorizer
from fleetkey.admin_api.cache import ApiCache
from fleetkey.config import Settings
from fleetkey.management import TokenService, build_management
from fleetkey.registry import Role, SqliteStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("role", "is_revoked", "outcome"),
    [(Role.VIEWER, False, "read"), (Role.VIEWER, True, None), (Role.ADMIN, False, None)],
    ids=["valid", "revoked", "role"],
)
async def test_run_on(tmp_path: Path, role: Role, *, is_revoked: bool, outcome: str | None) -> None:
    """More is read for a token that is still valid and has the role, and nothing for any other."""
    done: list[str] = []

    def work(_: object) -> str:
        done.append("read")
        return "read"

    with (
        closing(SqliteStore(tmp_path / "fleetkey.db")) as store,
        closing(WorkerPool(workers=1, max_pending=1)) as pool,
        closing(store.watch(waits=False)) as watch,
    ):
        created = TokenService(store).create("viewer", Role.VIEWER, actor="test")
        unused: Any = None
        authorizer = Authorizer(
            build_management(Settings.model_construct(), store),
            pool,
            ApiCache(watch),
            unused,
            unused,
            max_failures_per_minute=0,
            max_tracked=1,
        )
        connection: Any = SimpleNamespace(
            client=SimpleNamespace(host="192.0.2.1"),
            scope={BEARER: created.text.reveal()},
            route_handler=SimpleNamespace(opt={"role": role}),
        )
        if is_revoked:
            store.revoke_token(created.token.token_id, actor="test")
        assert await authorizer.run_on(connection, work) == outcome
    assert done == [outcome] * (outcome is not None)
