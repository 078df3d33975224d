"""Registration in this process: the real application on a real registry, without a socket."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from fleetkey.access import (
    Authenticator,
    ConnectAttempt,
    Granted,
    RefusalRecorder,
    WorkerPool,
    build_authenticator,
    build_worker_pool,
)
from fleetkey.config import MqttEndpoint, Settings, load_settings
from fleetkey.http import build_app
from fleetkey.management import Management, build_management
from fleetkey.registration import Registrar, build_registrar, register_route
from fleetkey.registry import RefusalFilter, RefusalRecord, SqliteStore
from tests.support.ledger import the_ledger
from tests.unit.registry.store_rig import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

__all__ = ["Registration", "registration"]

HERE = "192.0.2.1"


@dataclass(kw_only=True)
class Registration:
    """What a test registers at, and looks into."""

    settings: Settings
    store: SqliteStore
    clock: FakeClock
    management: Management
    authenticator: Authenticator
    registrar: Registrar
    recorder: RefusalRecorder
    pool: WorkerPool
    client: httpx.AsyncClient

    async def post(self, serial: str, proof: str | None = None) -> httpx.Response:
        """Register."""
        body = {"serial": serial} | ({"proof": proof} if proof is not None else {})
        response = await self.client.post("/register", json=body)
        if response.status_code == 200:
            the_ledger().note_secret(response.json()["secret"])
        return response

    async def register(self, serial: str, proof: str | None = None) -> dict[str, Any]:
        """Register with success and return the answer."""
        response = await self.post(serial, proof)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def reasons(self) -> list[str]:
        """Return why registrations were refused, oldest first."""
        return [entry.reason for entry in self.store.last_audit(1000) if entry.outcome == "refused"]

    async def records(self) -> list[RefusalRecord]:
        """Return the refusal records, newest first, and record nothing more."""
        await self.recorder.close()
        return list(self.store.find_refusals(RefusalFilter(), limit=1_000).records)

    async def can_connect(self, answer: dict[str, Any]) -> bool:
        """Whether the credentials of an answer let a device in; counts as its connection if they do."""
        attempt = ConnectAttempt(
            client_id=answer["deviceId"],
            username=answer["key"],
            password=answer["secret"].encode(),
            address=HERE,
        )
        self.authenticator.apply(self.store.changes_after(0, limit=100_000))
        return isinstance(await self.authenticator.authenticate(attempt), Granted)


@asynccontextmanager
async def registration(folder: Path, toml: str = "", **flags: Any) -> AsyncIterator[Registration]:
    """Serve with the settings of a file, without rate limits and with nothing remembered; `a__b=c` is `[a] b = c`."""
    file = folder / "fleetkey.toml"
    file.write_text(toml)
    given = {
        "data_dir": folder / "data",
        "registration.max_per_address_per_minute": 0,
        "registration.max_per_serial_per_hour": 0,
        "access.cache_seconds": 0,
        **{name.replace("__", "."): value for name, value in flags.items()},
    }
    settings = load_settings(file, given)
    clock = FakeClock()
    settings.data_dir.mkdir(exist_ok=True)
    store = SqliteStore(settings.data_dir / "fleetkey.db", clock=clock)
    pool = build_worker_pool(settings)
    recorder = RefusalRecorder(store.add_refusals, now=store.now, flush_seconds=1e9)
    registrar = build_registrar(settings, store, pool, recorder=recorder)
    authenticator = build_authenticator(settings, store, pool)
    authenticator._verification._clock = clock
    app = build_app(
        settings=settings,
        registration=register_route(settings, registrar, MqttEndpoint(host="127.0.0.1", port=1883, is_tls=False)),
        store=store,
        pool=pool,
    )
    try:
        asgi: Any = app
        transport = httpx.ASGITransport(asgi, client=(HERE, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield Registration(
                settings=settings,
                store=store,
                clock=clock,
                management=build_management(settings, store),
                authenticator=authenticator,
                registrar=registrar,
                recorder=recorder,
                pool=pool,
                client=client,
            )
    finally:
        await registrar.close()
        await authenticator.close()
        pool.close()
        store.close()
