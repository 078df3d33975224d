"""`/api/v1/webhooks`: the state of webhooks, and test requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from litestar import get, post
from litestar.params import FromPath

from fleetkey.access import OverloadedError
from fleetkey.admin_api.context import ApiContext, Asked
from fleetkey.admin_api.description import answers
from fleetkey.admin_api.responses import Answer, as_json
from fleetkey.management import find_webhook
from fleetkey.management.schemas import TrialAnswer, WebhookPage
from fleetkey.registry import Role
from fleetkey.webhooks import try_webhook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.types import ControllerRouterHandler

    from fleetkey.config import WebhookSettings

__all__ = ["webhook_handlers"]

MAX_TRIALS = 2
"""How many test requests run at once, each for up to its webhook's `timeout_seconds`; further ones get 503."""


def webhook_handlers(context: ApiContext, webhooks: Mapping[str, WebhookSettings]) -> list[ControllerRouterHandler]:
    """Return the operations on webhooks."""
    authorizer = context.authorizer
    trials = asyncio.Semaphore(MAX_TRIALS)

    @get("/webhooks", opt={"role": Role.VIEWER}, responses=answers(200, WebhookPage, "All webhooks"))
    async def list_webhooks(request: Asked) -> Answer:
        """List the webhooks in the settings: where each posts to, how far behind it is, and what it delivered."""
        found = await authorizer.run(request, lambda fleet, _: fleet.webhooks.statuses())
        return as_json(WebhookPage(items=found, next_cursor=None))

    @post(
        "/webhooks/{name:str}/test",
        status_code=200,
        opt={"role": Role.OPERATOR},
        responses=answers(200, TrialAnswer, "The receiver's response", 404),
    )
    async def try_out_webhook(request: Asked, name: FromPath[str]) -> Answer:
        """Post the event `webhook.test` to a webhook once, and return the receiver's response."""
        hook = await authorizer.run(request, lambda _fleet, _caller: find_webhook(webhooks, name))
        if trials.locked():
            msg = "too many webhook tests are running"
            raise OverloadedError(msg)
        async with trials:
            return as_json(await try_webhook(name, hook))

    return [list_webhooks, try_out_webhook]
