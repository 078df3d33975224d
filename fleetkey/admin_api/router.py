"""The router of the admin API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from litestar import Router, get

from fleetkey import __version__
from fleetkey.access import WorkerPool
from fleetkey.admin_api.audit import audit_handlers
from fleetkey.admin_api.auth import Authorizer
from fleetkey.admin_api.bodies import Bodies
from fleetkey.admin_api.cache import ApiCache
from fleetkey.admin_api.context import ApiContext, Asked
from fleetkey.admin_api.description import answers
from fleetkey.admin_api.devices import device_handlers
from fleetkey.admin_api.exception_handlers import EXCEPTION_HANDLERS
from fleetkey.admin_api.explain import explain_handlers
from fleetkey.admin_api.keys import key_handlers
from fleetkey.admin_api.refusals import refusal_handlers
from fleetkey.admin_api.responses import Answer, as_json
from fleetkey.admin_api.serials import MAX_IMPORTS, serial_handlers
from fleetkey.admin_api.tokens import token_handlers
from fleetkey.admin_api.webhooks import webhook_handlers
from fleetkey.http.openapi import summarize
from fleetkey.management.schemas import AboutAnswer, MqttAnswer, TokenAnswer
from fleetkey.registry import Role

if TYPE_CHECKING:
    from litestar.types import ASGIApp, ControllerRouterHandler

    from fleetkey.access import RefusalLog
    from fleetkey.admin_api.auth import RefusalAudit
    from fleetkey.config import MqttEndpoint, Settings
    from fleetkey.management import Management
    from fleetkey.registry import ChangeWatch

__all__ = ["PREFIX", "ApiPools", "build_api", "build_api_pools"]

PREFIX = "/api/v1"
API_WORKERS = 2
"""Threads for the API alone, so that a slow request delays no device."""
MAX_PENDING_REQUESTS = 200
"""Maximum number of requests that run in or wait for those threads; further ones get 503."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiPools:
    """The API's threads; imports, which may take minutes, have their own."""

    requests: WorkerPool
    imports: WorkerPool

    def close(self) -> None:
        """Wait for running work; call after the server has stopped."""
        self.requests.close()
        self.imports.close()


def build_api_pools() -> ApiPools:
    """Return the API's threads; close them after the server has stopped."""
    return ApiPools(
        requests=WorkerPool(workers=API_WORKERS, max_pending=MAX_PENDING_REQUESTS),
        imports=WorkerPool(workers=MAX_IMPORTS, max_pending=MAX_IMPORTS),
    )


def build_api(
    *,
    settings: Settings,
    management: Management,
    pools: ApiPools,
    watch: ChangeWatch,
    refusals: RefusalAudit,
    refusal_log: RefusalLog,
    endpoint: MqttEndpoint,
) -> Router:
    """Return the API's router.

    Args:
        settings: bounds, timeouts and webhooks.
        management: the services.
        pools: from `build_api_pools`.
        watch: reports commits to the registry, without waiting.
        refusals: records refusals in the audit log.
        refusal_log: logs refusals, within a budget; close it after the server has stopped.
        endpoint: the broker's address, which the API tells its clients.
    """
    authorizer = Authorizer(
        management,
        pools.requests,
        ApiCache(watch),
        refusals,
        refusal_log,
        max_failures_per_minute=settings.access.max_failures_per_address_per_minute,
        max_tracked=settings.access.max_tracked,
    )
    bodies = Bodies()
    context = ApiContext(
        authorizer=authorizer,
        bodies=bodies,
        request_pool=pools.requests,
        import_pool=pools.imports,
        endpoint=endpoint,
        body_timeout_seconds=settings.http.body_timeout_seconds,
        now=management.now,
    )

    @get("/", opt={"role": Role.VIEWER}, responses=answers(200, AboutAnswer, "The server, and your token"))
    async def about(request: Asked) -> Answer:
        """Return the server's version, the token in use, and the broker's address."""
        token = await authorizer.run(request, lambda _, caller: caller.token)
        mqtt = MqttAnswer(host=endpoint.host, port=endpoint.port, tls=endpoint.is_tls)
        return as_json(AboutAnswer(version=__version__, token=TokenAnswer.of(token), mqtt=mqtt))

    # Functions, because Litestar copies its arguments, and a copied authorizer would have its own counters and cache.
    # Not a Litestar guard, because that copies the handler for each request. `Authorizer.run` refuses whatever bypassed
    # this.
    async def before(request: Asked) -> Answer | None:
        return await authorizer.before(request)

    def releasing(app: ASGIApp) -> ASGIApp:
        return bodies.releasing(app)

    groups: dict[str, list[ControllerRouterHandler]] = {
        "operations": [about],
        "serials": serial_handlers(context),
        "devices": device_handlers(context),
        "keys": key_handlers(context),
        "audit": audit_handlers(context),
        "refusals": [*refusal_handlers(context), *explain_handlers(context)],
        "tokens": token_handlers(context),
        "webhooks": webhook_handlers(context, settings.webhooks),
    }
    for tag, handlers in groups.items():
        summarize(handlers, tag)
    return Router(
        PREFIX,
        route_handlers=[handler for handlers in groups.values() for handler in handlers],
        before_request=before,
        middleware=[releasing],
        exception_handlers=EXCEPTION_HANDLERS,
        security=[{"token": []}],
    )
