"""Everything that `fleetkey serve` runs: wired together, started, and stopped in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from fleetkey.access import RefusalLog, RefusalRecorder, build_authenticator, build_worker_pool
from fleetkey.admin_api import build_api, build_api_pools
from fleetkey.broker import (
    Accounts,
    BrokerEngine,
    BundledEngine,
    DeadlineEngine,
    EngineError,
    ListenerError,
    ListenerName,
    PresenceRecorder,
)
from fleetkey.cli.errors import CommandError
from fleetkey.cli.serve.clock_keeper import ClockKeeper
from fleetkey.cli.serve.listen_errors import cannot_listen, cannot_listen_for_mqtt
from fleetkey.cli.serve.metrics import Metrics
from fleetkey.cli.serve.open_files import fit_to_open_files, log_lowered
from fleetkey.cli.serve.orphan_cleanup import OrphanCleanup
from fleetkey.cli.serve.shared_topics import log_shared_topics
from fleetkey.cli.serve.supervision import kept_running
from fleetkey.config import MqttEndpoint, parse_address
from fleetkey.http import HttpServer, build_app
from fleetkey.management import build_management
from fleetkey.operations import (
    CertificateError,
    Descriptors,
    FleetFiles,
    ServedCertificate,
    ServedElsewhereError,
    ServeLock,
    watch_certificates,
)
from fleetkey.registration import build_registrar, register_route
from fleetkey.registry import (
    ChangeFollower,
    RefusalListener,
    RefusalStage,
    SteadyClock,
    StoreError,
    make_private_folder,
    open_store,
)
from fleetkey.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fleetkey.config import Settings
    from fleetkey.registry import Change, RefusalReason

__all__ = ["Runtime"]

log = structlog.get_logger(__name__)

HOUSEKEEPING_SECONDS = 1.0
"""Interval between housekeeping rounds, which retire expired keys."""
AUDIT_SECONDS = 60.0
"""Interval between checks for old audit entries and refusal records, which are deleted in batches, one each round."""


class Runtime:
    """Registration and broker over one registry, on the running event loop."""

    def __init__(self, settings: Settings) -> None:
        """Open the registry and put the parts together; nothing listens yet.

        Raises:
            CommandError: the limit on open files is too low for any server.
            StoreError: the registry can't be opened.
            TemplateError: a topic pattern can't be used.
            SharedSecretError: a verifier's or a webhook's secret can't be used.
            SettingsError: a CA file can't be used.
        """
        self._files = fit_to_open_files(settings)
        self._descriptors = Descriptors(self._files.reserve)
        self.settings = settings = self._files.applied_to(settings)
        self._clock = SteadyClock()
        self.store = open_store(settings, clock=self._clock)
        self._clock_keeper = ClockKeeper(self.store, self._clock)
        self._databases = FleetFiles.from_settings(settings)
        self._lock = ServeLock([self._databases.registry, self._databases.broker])
        self._pool = build_worker_pool(settings)
        self._authenticator = build_authenticator(settings, self.store, self._pool)
        self._api_pools = build_api_pools()
        self._api_watch = self.store.watch(waits=False)
        self._api_refusal_log = RefusalLog()
        self._recorder = RefusalRecorder(self.store.add_refusals, now=self.store.now)
        self._registrar = build_registrar(settings, self.store, self._pool, recorder=self._recorder)
        self.webhooks = Webhooks(settings.webhooks, self.store)
        self._follower = ChangeFollower(self.store, self._tell)
        self._loop = asyncio.get_running_loop()
        self._engine: BrokerEngine | None = None
        self._ports: Mapping[ListenerName, int] = {}
        self._http: HttpServer | None = None
        self._is_stopping = False
        self._housekeepers: list[asyncio.Task[None]] = []
        self._certificates = {
            name: ServedCertificate(name, table.tls_cert, table.tls_key)
            for name, table in (("http", settings.http), ("mqtt", settings.mqtt))
            if table.tls_cert is not None and table.tls_key is not None
        }

    async def start(self) -> None:
        """Start serving, and return when both are ready. On failure, stop whatever was started.

        Raises:
            CommandError: another process serves this fleet, an address can't be bound, or a certificate can't be used.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self.settings
        await self._claim_folder()
        await self._verify_certificates()
        try:
            self._http = HttpServer(settings.http, self._descriptors, refused=self._refuse_http)
        except OSError as error:
            raise CommandError(cannot_listen("registration", settings.http.bind, error, "--http")) from None
        self._follower.start()
        accounts = Accounts(settings.limits, self._databases.broker)
        accounts.memory.add_source(self._http.memory)
        try:
            engine = DeadlineEngine(
                BundledEngine(
                    settings.mqtt,
                    self._authenticator,
                    self._databases.broker,
                    presence=PresenceRecorder(
                        self.store,
                        flush_seconds=settings.mqtt.presence_flush_seconds,
                        seen_seconds=settings.mqtt.presence_seen_seconds,
                    ),
                    clock=self._clock,
                    descriptors=self._descriptors,
                    accounts=accounts,
                    recorder=self._recorder,
                )
            )
            await engine.start()
            self._engine, self._ports = engine, await engine.listeners()
            cleanup = OrphanCleanup(self.store, engine)
            self._authenticator.on_reset(cleanup.request)
            await cleanup.clean()
        except ListenerError as error:
            raise CommandError(cannot_listen_for_mqtt(settings.mqtt, error)) from None
        except EngineError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            msg = f"settings mqtt.tls_cert and mqtt.tls_key: {error}"
            raise CommandError(msg) from None
        metrics = Metrics(
            registrar=self._registrar,
            authenticator=self._authenticator,
            recorder=self._recorder,
            api_refusal_log=self._api_refusal_log,
            pool=self._pool,
            engine=engine,
            webhooks=self.webhooks,
            follower=self._follower,
            clock=self._clock,
            descriptors=self._descriptors,
            http=self._http,
            budgets=(accounts.memory, accounts.disk),
        )
        # Before anything can register: changes committed from here on are delivered, even if this process is killed.
        await self.webhooks.start()
        endpoint = self.mqtt_endpoint()
        api = build_api(
            settings=settings,
            management=build_management(settings, self.store),
            pools=self._api_pools,
            watch=self._api_watch,
            refusals=self._registrar.refusals,
            refusal_log=self._api_refusal_log,
            endpoint=endpoint,
        )
        app = build_app(
            render_metrics=metrics.render,
            settings=settings,
            registration=register_route(settings, self._registrar, endpoint),
            store=self.store,
            pool=self._pool,
            broker_lacks=self._broker_lacks,
            api=api if settings.http.admin_api else None,
        )
        try:
            await self._http.start(app)
        except OSError as error:
            msg = f"settings http.tls_cert and http.tls_key: {error}"
            raise CommandError(msg) from None
        self._attach_certificates()
        log_lowered(self._files)
        await asyncio.to_thread(log_shared_topics, settings)
        self._housekeepers = [
            asyncio.create_task(kept_running("housekeeping", self._keep_house), name="fleetkey-housekeeping"),
            asyncio.create_task(kept_running("sweep", cleanup.run), name="fleetkey-orphan-cleanup"),
            asyncio.create_task(kept_running("clock", self._clock_keeper.run), name="fleetkey-clock"),
            asyncio.create_task(kept_running("descriptors", self._watch_descriptors), name="fleetkey-descriptors"),
            asyncio.create_task(kept_running("certificates", self._watch_certificates), name="fleetkey-certificates"),
        ]

    async def _claim_folder(self) -> None:
        data_dir = self.settings.data_dir
        try:
            await asyncio.to_thread(make_private_folder, data_dir)
            await asyncio.to_thread(self._lock.acquire)
        except ServedElsewhereError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            msg = f"can't create the data directory {data_dir}: {error.strerror}; choose another with --data-dir"
            raise CommandError(msg) from None

    async def _verify_certificates(self) -> None:
        for name, certificate in self._certificates.items():
            try:
                await certificate.verify()
            except CertificateError as error:
                msg = f"settings {name}.tls_cert and {name}.tls_key: {error}"
                raise CommandError(msg) from None

    async def stop(self) -> None:
        """Stop accepting registrations, then connections, then close the registry."""
        self._is_stopping = True
        for task in self._housekeepers:
            task.cancel()
        await asyncio.gather(*self._housekeepers, return_exceptions=True)
        if self._http is not None:
            await self._http.stop()
        self._api_refusal_log.close()
        await self._registrar.close()
        await self.webhooks.stop()
        if self._engine is not None:
            try:
                await self._engine.stop()
            except EngineError as error:
                # The rest is to be closed all the same.
                log.error("engine_stop_failed", error=str(error))  # noqa: TRY400 - the message says it all
        await self._recorder.close()
        if self._housekeepers:
            await self._clock_keeper.save()
        await asyncio.to_thread(self._follower.stop)
        await self._authenticator.close()
        await asyncio.to_thread(self._pool.close)
        await asyncio.to_thread(self._api_pools.close)
        self._api_watch.close()
        self.store.close()
        self._lock.release()

    async def reload(self) -> None:
        """Reload the certificates, as SIGHUP requests; existing connections keep theirs."""
        for certificate in self._certificates.values():
            await certificate.reload_if_changed(at_once=True)

    def http_url(self) -> str:
        """Return the URL of registration and the admin API."""
        settings = self.settings.http
        scheme = "https" if settings.tls_cert else "http"
        return f"{scheme}://{_at_port(settings.bind, self._http.port if self._http else 0)}"

    def mqtt_address(self, listener: ListenerName) -> str | None:
        """Return the address of one of the broker's listeners, as `host:port`; None if there is no such listener."""
        mqtt = self.settings.mqtt
        binds = {ListenerName.TCP: mqtt.bind, ListenerName.TLS: mqtt.tls_bind, ListenerName.WEBSOCKET: mqtt.ws_bind}
        port = self._ports.get(listener)
        return _at_port(binds[listener], port) if port is not None else None

    def mqtt_endpoint(self) -> MqttEndpoint:
        """Return the broker's address as registration responses give it: the TLS listener if there is one."""
        mqtt = self.settings.mqtt
        listener, bind = (ListenerName.TLS, mqtt.tls_bind) if mqtt.tls_bind else (ListenerName.TCP, mqtt.bind)
        if not bind:
            listener, bind = ListenerName.WEBSOCKET, mqtt.ws_bind
        address = parse_address(bind)
        host = mqtt.advertise_host or (None if address.is_wildcard else address.host)
        port = mqtt.advertise_port or self._ports.get(listener, 0) or address.port
        is_secure_websocket = listener is ListenerName.WEBSOCKET and mqtt.tls_cert is not None
        return MqttEndpoint(host=host, port=port, is_tls=listener is ListenerName.TLS or is_secure_websocket)

    async def _broker_lacks(self) -> Sequence[str]:
        """Return why clients can't connect.

        `broker`: it is stopping, doesn't listen on every configured address, or can't write its store. Otherwise, what
        it has no more of.
        """
        mqtt, engine = self.settings.mqtt, self._engine
        if engine is None or self._is_stopping:
            return ["broker"]
        wanted = {ListenerName.TCP: mqtt.bind, ListenerName.TLS: mqtt.tls_bind, ListenerName.WEBSOCKET: mqtt.ws_bind}
        try:
            listeners = await engine.listeners()
            if await engine.can_store() and all(name in listeners for name, bind in wanted.items() if bind):
                return await engine.exhausted()
        except EngineError as error:
            log.error("engine_unreachable", error=str(error))  # noqa: TRY400 - the message says it all
        return ["broker"]

    def _attach_certificates(self) -> None:
        if self._http is not None and self._http.tls_context is not None:
            self._certificates["http"].attach(self._http.tls_context)
        for context in self._engine.tls_contexts if self._engine is not None else ():
            self._certificates["mqtt"].attach(context)

    def _tell(self, changes: Sequence[Change]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._authenticator.apply, changes)
            self._loop.call_soon_threadsafe(self.webhooks.wake)

    def _refuse_http(self, why: RefusalReason, address: str, detail: str) -> None:
        """Trace a client of registration or the admin API that was refused before it sent a request."""
        listener = RefusalListener.HTTPS if self.settings.http.tls_cert else RefusalListener.HTTP
        self._recorder.note(RefusalStage.CONNECT, why, listener, address, detail=detail)
        self._registrar.refusal_log.stranger(
            "connection_refused", reason=why.value, detail=detail, listener=listener.value, address=address
        )

    async def _watch_certificates(self) -> None:
        await watch_certificates(self._certificates.values())

    async def _watch_descriptors(self) -> None:
        while True:
            self._descriptors.look()
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    async def _keep_house(self) -> None:
        """Retire expired keys, which disconnects the clients that use them, and delete old entries and records."""
        days, refusal_days = self.settings.store.max_audit_days, self.settings.store.max_refusal_days
        audit_due = self._loop.time()
        while True:
            try:
                # A bulk rotation can expire thousands at once: one batch per transaction, without a pause in between.
                while await asyncio.to_thread(self.store.retire_expired_keys):
                    pass
                if self._loop.time() >= audit_due:
                    dropped = days and await asyncio.to_thread(self.store.drop_old_audit, days=days)
                    if refusal_days:
                        dropped += await asyncio.to_thread(self.store.drop_old_refusals, days=refusal_days)
                    audit_due = self._loop.time() + (0 if dropped else AUDIT_SECONDS)
            except StoreError as error:
                log.error("housekeeping_failed", error=str(error))  # noqa: TRY400 - the message says it all
            await asyncio.sleep(HOUSEKEEPING_SECONDS)


def _at_port(bind: str, port: int) -> str:
    address = parse_address(bind)
    return f"[{address.host}]:{port}" if ":" in address.host else f"{address.host}:{port}"
