"""The keys of a remote server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fleetkey.access import Secret
from fleetkey.cli.remote.client import segment
from fleetkey.management import MAX_PAGE, CreatedKey, check_application_key
from fleetkey.management.schemas import (
    CreatedKeyAnswer,
    KeyAnswer,
    KeyBody,
    KeyPage,
    RotationAnswer,
    RotationBody,
    ScopeBody,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.cli.remote.client import RemoteClient
    from fleetkey.management import ApplicationKeyRequest, KeyFilter

__all__ = ["RemoteKeys"]


class RemoteKeys:
    """What `KeyService` does for commands. Every method raises `CommandError`."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client

    def get(self, key: str) -> KeyAnswer:
        """Return one key."""
        return self._client.ask("GET", _path(key), KeyAnswer)

    def iterate(self, wanted: KeyFilter) -> Iterator[KeyAnswer]:
        """Yield all keys that match, oldest first, a page at a time."""
        query: dict[str, Any] = {
            "device_id": wanted.device_id,
            "kind": wanted.kind,
            "include_retired": "true" if wanted.include_retired else None,
            "limit": MAX_PAGE,
        }
        while True:
            page = self._client.ask("GET", "keys", KeyPage, query=query)
            yield from page.items
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def create_application(
        self, request: ApplicationKeyRequest, *, actor: str, hand_over: Callable[[str, Secret], None] | None = None
    ) -> CreatedKey:
        """Create a key for a back end; it is revoked if `hand_over` raises.

        Raises:
            InvalidRequestError: no such key can be created.
        """
        check_application_key(request)
        scope = request.scope
        expires = None if request.expires_at is None else datetime.fromtimestamp(request.expires_at / 1000, UTC)
        answer = self._client.ask(
            "POST",
            "keys",
            CreatedKeyAnswer,
            body=KeyBody(
                name=request.name,
                description=request.description,
                scope=ScopeBody(
                    all_devices=scope.all_devices,
                    device_ids=list(scope.device_ids),
                    tags=dict(scope.tags),
                    publish=list(scope.publish),
                    subscribe=list(scope.subscribe),
                ),
                sources=list(request.sources),
                expires=expires.isoformat() if expires else None,
            ),
        )
        secret = Secret(answer.secret)
        if hand_over is not None:
            try:
                hand_over(answer.key, secret)
            except BaseException:
                self.revoke(answer.key, actor=actor)
                raise
        return CreatedKey(key=answer.without_secret(), secret=secret)

    def revoke(self, key: str, *, actor: str) -> KeyAnswer:
        """Revoke a key for good."""
        return self._client.ask("POST", f"{_path(key)}/revoke", KeyAnswer)

    def rotate(self, device_id: str, *, grace_seconds: int | None = None, actor: str) -> RotationAnswer:
        """Expire a device's keys after a grace period."""
        return self._client.ask(
            "POST",
            f"devices/{segment('device', device_id)}/rotate-keys",
            RotationAnswer,
            body=RotationBody(grace_seconds=grace_seconds),
        )


def _path(key: str) -> str:
    return f"keys/{segment('key', key)}"
