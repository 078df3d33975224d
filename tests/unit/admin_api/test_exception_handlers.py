"""How the admin API answers errors of the server itself."""

from __future__ import annotations

import pytest
from litestar import Litestar, get
from litestar.testing import AsyncTestClient

from fleetkey.access import OverloadedError, SharedSecretError
from fleetkey.admin_api.exception_handlers import EXCEPTION_HANDLERS
from fleetkey.config import SettingsError
from fleetkey.registry import StoreError

MESSAGE = "setting webhooks.backend.ca_file: /srv/ca.pem can't be used"
UNAVAILABLE = 503


@pytest.mark.parametrize("error", [OverloadedError, SettingsError, SharedSecretError, StoreError])
async def test_unavailable(error: type[Exception]) -> None:
    """An error of the server is a 503 with `Retry-After`; its message, which may name files, is for the log alone."""

    @get("/x")
    async def failing() -> None:
        raise error(MESSAGE)

    app = Litestar([failing], exception_handlers=EXCEPTION_HANDLERS, logging_config=None)
    async with AsyncTestClient(app) as client:
        response = await client.get("/x")
    assert response.status_code == UNAVAILABLE
    assert response.headers["retry-after"]
    assert "ca.pem" not in response.text
