"""Explanations of a remote server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.management.schemas import ExplainAnswer, TopicAction, TopicAnswer

if TYPE_CHECKING:
    from fleetkey.cli.remote.client import RemoteClient

__all__ = ["RemoteExplain"]


class RemoteExplain:
    """What `ExplainService` does for commands. Every method raises `CommandError`."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client

    def topic(self, action: TopicAction, topic: str, *, device_id: str | None, key: str | None) -> TopicAnswer:
        """Say whether a device or a key may use a topic, and which pattern decides."""
        query = {"action": action.value, "topic": topic, "device_id": device_id, "key": key}
        return self._client.ask("GET", "explain/topic", TopicAnswer, query=query)

    def explain(self, what: str | None = None, *, limit: int = 20) -> ExplainAnswer:
        """Explain what became of a client; None: everyone's last refusals."""
        return self._client.ask("GET", "explain", ExplainAnswer, query={"what": what, "limit": limit})
