"""A long body is decoded in a thread, so that it doesn't hold up the event loop."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from litestar import Request

from fleetkey.access import WorkerPool
from fleetkey.admin_api import context
from fleetkey.admin_api.bodies import Bodies
from fleetkey.admin_api.context import DECODED_AT_ONCE_BYTES, ApiContext
from fleetkey.http.body import decode_json
from fleetkey.management.schemas import SerialsBody

BODY = b'{"serials":["SN-1"]}'


@pytest.mark.parametrize(("size", "is_in_thread"), [(DECODED_AT_ONCE_BYTES, False), (DECODED_AT_ONCE_BYTES + 1, True)])
async def test_body(monkeypatch: pytest.MonkeyPatch, size: int, *, is_in_thread: bool) -> None:
    """A body of either size is decoded; a long one isn't on the event loop."""
    threads: list[threading.Thread] = []

    def decode(content: bytes, shape: type[SerialsBody]) -> SerialsBody:
        threads.append(threading.current_thread())
        return decode_json(content, shape)

    async def receive() -> Any:
        return {"type": "http.request", "body": BODY.ljust(size), "more_body": False}

    monkeypatch.setattr(context, "decode_json", decode)
    scope: Any = {
        "type": "http",
        "method": "POST",
        "headers": [(b"content-type", b"application/json")],
        "route_handler": SimpleNamespace(resolve_request_max_body_size=lambda: None),
    }
    caller = SimpleNamespace(token=SimpleNamespace(token_id="0" * 12))
    authorizer: Any = SimpleNamespace(caller=lambda _: caller)
    unused: Any = None
    with closing(WorkerPool(workers=1, max_pending=1)) as pool:
        api = ApiContext(
            authorizer=authorizer,
            bodies=Bodies(),
            request_pool=pool,
            import_pool=unused,
            endpoint=unused,
            body_timeout_seconds=10,
            now=lambda: datetime.now(UTC),
        )
        assert (await api.body(Request(scope, receive), SerialsBody)).serials == ["SN-1"]
    assert [thread is not threading.current_thread() for thread in threads] == [is_in_thread]
