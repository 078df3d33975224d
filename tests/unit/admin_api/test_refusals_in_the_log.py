"""How many lines of the log the admin API's refusals have, and whose they are."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from structlog.testing import capture_logs

from fleetkey.access import RefusalLog, build_worker_pool
from fleetkey.access.protection.refusal_log import MAX_LINES, MAX_LINES_OF_ONE
from fleetkey.admin_api import build_api, build_api_pools
from fleetkey.config import MqttEndpoint, load_settings
from fleetkey.http import build_app
from fleetkey.management import TokenService, build_management
from fleetkey.registration import build_registrar, register_route
from fleetkey.registry import Role, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fleetkey.registry.store import Store

BEYOND = 40
AT_ONCE = 100
"""Requests at once; more than the API's threads may have waiting get 503."""
UNKNOWN = f"fkt_{'0' * 12}_{'0' * 64}"


class _Served:
    """The application, asked from any address."""

    def __init__(self, app: Any, store: Store, refusal_log: RefusalLog) -> None:
        self._app = app
        self.store = store
        self.refusal_log = refusal_log

    def token(self, role: Role) -> tuple[str, str]:
        """Create a token; return its id and text."""
        created = TokenService(self.store).create(f"test-{role}", role, actor="test")
        return created.token.token_id, created.text.reveal()

    async def ask(self, token: str, address: str = "192.0.2.1", method: str = "GET") -> int:
        """Send a request; return the status of its response."""
        transport = httpx.ASGITransport(self._app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            response = await client.request(method, "/api/v1/tokens", headers={"Authorization": f"Bearer {token}"})
        return response.status_code

    async def flood(self, count: int) -> set[int]:
        """Send an unknown token from as many addresses; return the statuses."""
        statuses: set[int] = set()
        for start in range(0, count, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, count))
            statuses.update(
                await asyncio.gather(*(self.ask(UNKNOWN, f"198.18.{at // 250}.{at % 250}") for at in numbers))
            )
        return statuses


@asynccontextmanager
async def _serving(folder: Path, flags: dict[str, Any] | None = None) -> AsyncIterator[_Served]:
    file = folder / "fleetkey.toml"
    file.touch()
    settings = load_settings(file, {"data_dir": folder / "data", **(flags or {})})
    store, pool, api_pools = open_store(settings), build_worker_pool(settings), build_api_pools()
    watch = store.watch(waits=False)
    endpoint = MqttEndpoint(host="127.0.0.1", port=1883, is_tls=False)
    registrar, refusal_log = build_registrar(settings, store, pool), RefusalLog()
    api = build_api(
        settings=settings,
        management=build_management(settings, store),
        pools=api_pools,
        watch=watch,
        refusals=registrar.refusals,
        refusal_log=refusal_log,
        endpoint=endpoint,
    )
    route = register_route(settings, registrar, endpoint)
    app = build_app(settings=settings, registration=route, store=store, pool=pool, api=api)
    try:
        yield _Served(app, store, refusal_log)
    finally:
        refusal_log.close()
        await registrar.close()
        api_pools.close()
        pool.close()
        watch.close()
        store.close()


async def test_flood_from_many_addresses(tmp_path: Path) -> None:
    """A flood of bad tokens has a bounded number of lines, and hides none about a token of the fleet's operators."""
    async with _serving(tmp_path) as served:
        _, viewer = served.token(Role.VIEWER)
        revoked_id, revoked = served.token(Role.ADMIN)
        TokenService(served.store).revoke(revoked_id, actor="test")
        with capture_logs() as lines:
            assert await served.flood(MAX_LINES + BEYOND) == {401}
            assert await served.ask(revoked) == 401
            for _ in range(2 * MAX_LINES_OF_ONE):
                assert await served.ask(viewer) == 403
            served.refusal_log.close()
    assert Counter(line["reason"] for line in lines if line["event"] == "api_refused") == {
        "token_unknown": MAX_LINES,
        "token_revoked": 1,
        "needs_role_admin": MAX_LINES_OF_ONE,
    }
    assert {
        (line["of"], line["reason"], line["further"]) for line in lines if line["event"] == "refusals_not_logged"
    } == {("api_refused", "token_unknown", BEYOND), ("api_refused", "needs_role_admin", MAX_LINES_OF_ONE)}
    assert served.refusal_log.unlogged == {"api_refused": BEYOND + MAX_LINES_OF_ONE}


async def test_over_limit(tmp_path: Path) -> None:
    """Bad tokens of an address over its limit have no lines, and are counted."""
    async with _serving(tmp_path, {"access.max_failures_per_address_per_minute": 2}) as served:
        with capture_logs() as lines:
            assert [await served.ask(UNKNOWN) for _ in range(5)] == [401, 401, 429, 429, 429]
    assert Counter(line["event"] for line in lines) == {"api_refused": 2}
    assert served.refusal_log.unlogged == {"api_refused": 3}
