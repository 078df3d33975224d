"""The admin API of a running server, as HTTP and through the command line."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from fleetkey.access import hash_secret, new_secret
from fleetkey.management import TokenService
from fleetkey.registry import (
    IssuePending,
    IssueRequest,
    KeyIssued,
    Reregistration,
    Role,
    SqliteStore,
    new_access_key,
)
from tests.support.http import NOBODY_TRUSTED
from tests.support.ledger import the_ledger
from tests.support.server import NO_LIMITS, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Api", "serving"]

SECRETS = ("secret", "token")


class Api:
    """Talks to `/api/v1` with a token of any role; what must hold no secret goes to the ledger."""

    def __init__(self, server: ServerProcess, store: SqliteStore) -> None:
        self.server = server
        self.store = store
        self.tokens: dict[Role, str] = {}
        self._client = httpx.Client(base_url=f"{server.url}/api/v1", timeout=30, verify=NOBODY_TRUSTED)
        for role in Role:
            self.tokens[role] = self.token(role)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def token(self, role: Role, **options: Any) -> str:
        """Make a token on the server's machine."""
        text = TokenService(self.store).create(f"test-{role}", role, actor="test", **options).text.reveal()
        the_ledger().note_secret(text[-64:])
        return text

    def ask(self, method: str, path: str, *, role: Role | None = Role.ADMIN, **options: Any) -> httpx.Response:
        """Send a request; `role` None sends it without a token."""
        headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role else {}
        headers |= options.pop("headers", {})
        response = self._client.request(method, path, headers=headers, **options)
        self._note(response)
        return response

    def json(self, method: str, path: str, **options: Any) -> Any:
        """Send a request that must be done, and return what it answers."""
        response = self.ask(method, path, **options)
        assert response.is_success, response.text
        return response.json()

    def items(self, path: str, **query: Any) -> list[Any]:
        """Return all items of a list, page by page."""
        found: list[Any] = []
        while True:
            page = self.json("GET", path, params=query)
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    def device(self, serial: str, *, is_pending: bool = False, **options: Any) -> tuple[str, str]:
        """Register a device in the registry; return its id and its key, which a pending one doesn't have."""
        key = new_access_key()
        request = IssueRequest(
            serial=serial,
            key=key,
            secret_hash=hash_secret(new_secret(), 4),
            reregistration=Reregistration.ROTATE,
            grace_seconds=60,
            max_keys=5,
            require_approval=is_pending,
            **options,
        )
        issued = self.store.issue_device_key(request)
        assert isinstance(issued, KeyIssued | IssuePending)
        return issued.device.device_id, key

    def _note(self, response: httpx.Response) -> None:
        is_json = response.headers.get("content-type") == "application/json"
        fields = response.json() if is_json and response.status_code == httpx.codes.CREATED else {}
        for name in SECRETS:
            if name in fields:
                the_ledger().note_secret(fields[name][-64:])
                # Shown this once, to whoever asked, and kept by nothing in between.
                assert response.headers["cache-control"] == "no-store"
        if not fields:
            the_ledger().note_text(response.text)


@contextmanager
def serving(folder: Path, environment: dict[str, str], settings: str = "") -> Iterator[Api]:
    """Run a server, and a registry beside it as the command line opens it."""
    with (
        ServerProcess(folder, environment={**NO_LIMITS, **environment}, settings=settings) as server,
        closing(SqliteStore(server.database)) as store,
        closing(Api(server, store)) as api,
    ):
        yield api
