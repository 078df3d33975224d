"""What else the API does while imports run."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fleetkey.admin_api.serials import MAX_IMPORTS
from tests.integration.api.api_rig import serving
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.integration.api.api_rig import Api

HELD_SECONDS = 30


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """Run a server whose changes wait for long."""
    with serving(tmp_path, {"FLEETKEY_STORE__BUSY_TIMEOUT_SECONDS": str(HELD_SECONDS)}) as api:
        yield api


def _import(api: Api, number: int) -> httpx.Response:
    content = "\n".join(f"SN-{number}-{serial}" for serial in range(1000))
    return api.ask("POST", "/serials/import", content=content, headers={"Content-Type": "text/plain"})


def test_requests_beside_imports(api: Api) -> None:
    """As many imports as there may be keep no other request waiting, and a further one is told to come again."""
    device_id, _ = api.device("SN-1")
    with (
        closing(sqlite3.connect(api.server.database, isolation_level=None)) as other,
        ThreadPoolExecutor(MAX_IMPORTS + 1) as threads,
    ):
        other.execute("BEGIN IMMEDIATE")
        imports = [threads.submit(_import, api, number) for number in range(MAX_IMPORTS + 1)]
        try:
            assert eventually(lambda: any(one.done() for one in imports), 10)
            shown = [api.ask("GET", path, timeout=HELD_SECONDS / 3) for path in (f"/devices/{device_id}", "/keys")]
        finally:
            other.execute("ROLLBACK")
        assert [answer.status_code for answer in shown] == [200, 200]
        ended = sorted(one.result().status_code for one in imports)
        assert ended == [200] * MAX_IMPORTS + [503]
