"""An HTTP client that holds every answer against the published description."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.fleet import note_answer
from tests.support.http import NOBODY_TRUSTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Fleet


@pytest.fixture(scope="module")
def http(fleet: Fleet) -> Iterator[httpx.Client]:
    """Talk to registration; an answer whose status isn't documented for its operation fails the test."""
    paths = httpx.get(f"{fleet.server.url}/schema/openapi.json", verify=NOBODY_TRUSTED).json()["paths"]

    def check(response: httpx.Response) -> None:
        response.read()
        note_answer(response)
        request = response.request
        operation = paths.get(request.url.path, {}).get(request.method.lower())
        assert operation is None or str(response.status_code) in operation["responses"], response.status_code

    with httpx.Client(
        base_url=fleet.server.url, event_hooks={"response": [check]}, timeout=30, verify=NOBODY_TRUSTED
    ) as client:
        yield client
