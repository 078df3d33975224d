"""How long the event loop waits for the interpreter while other threads work."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import uvloop

from fleetkey.cli.serve import server
from fleetkey.config import Settings

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import pytest


PYTHON_SECONDS = 0.005
"""What Python sets when it starts."""


def test_switch_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's threads keep the interpreter for less time than Python lets them by default."""
    found, during = sys.getswitchinterval(), []
    # Another test of this process may have served already.
    sys.setswitchinterval(PYTHON_SECONDS)

    def run(serving: Coroutine[None, None, None]) -> None:
        serving.close()
        during.append(sys.getswitchinterval())

    monkeypatch.setattr(uvloop, "run", run)
    try:
        server.run_server(Settings(), sample=False, as_json=True)
    finally:
        sys.setswitchinterval(found)
    assert during == [server.SWITCH_SECONDS] != [PYTHON_SECONDS]
