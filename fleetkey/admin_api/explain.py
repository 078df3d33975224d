"""`/api/v1/explain`: why a client doesn't get in, and which topics it may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from litestar import get
from litestar.params import QueryParameter

from fleetkey.admin_api.context import ApiContext, Asked
from fleetkey.admin_api.description import Limit, answers
from fleetkey.admin_api.responses import Answer, as_json
from fleetkey.management.schemas import ExplainAnswer, TopicAction, TopicAnswer
from fleetkey.registry import Role

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

__all__ = ["explain_handlers"]

What = Annotated[
    str | None,
    QueryParameter(
        description="A serial, device id, key, client id or address. Without it, everyone's last refusals.",
    ),
]
Device = Annotated[str | None, QueryParameter(description="The device; either this or `key`.")]
Key = Annotated[str | None, QueryParameter(description="The access key; either this or `device_id`.")]
Action = Annotated[TopicAction, QueryParameter(description="What the client would do with it.")]
Topic = Annotated[str, QueryParameter(description="The topic or, for `subscribe`, the topic filter.")]
VIEWER = {"role": Role.VIEWER}


def explain_handlers(context: ApiContext) -> list[ControllerRouterHandler]:
    """Return the operations that explain."""
    authorizer = context.authorizer

    @get("/explain", opt=VIEWER, responses=answers(200, ExplainAnswer, "The explanation"))
    async def explain(request: Asked, what: What = None, limit: Limit = 20) -> Answer:
        """Explain what became of a client: what it tried, what came of it and why, and what is in force for it."""
        return as_json(await authorizer.run(request, lambda fleet, _: fleet.explain.explain(what, limit=limit)))

    @get("/explain/topic", opt=VIEWER, responses=answers(200, TopicAnswer, "The decision", 404))
    async def explain_topic(
        request: Asked, action: Action, topic: Topic, device_id: Device = None, key: Key = None
    ) -> Answer:
        """Say whether a device or key may use a topic: the pattern that decides, and where it comes from."""
        return as_json(
            await authorizer.run(
                request, lambda fleet, _: fleet.explain.topic(action, topic, device_id=device_id, key=key)
            )
        )

    return [explain, explain_topic]
