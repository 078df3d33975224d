"""One server for each module, over TCP and WebSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Fleet, running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server."""
    with running(tmp_path_factory.mktemp("server"), ws_bind="127.0.0.1:0") as fleet:
        yield fleet
