"""What of uvicorn's inside the bounds on HTTP rest on: a release that renames it would take them away in silence."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from fleetkey.http.held import Flow
from fleetkey.http.protocol import BoundedHttpProtocol
from fleetkey.http.server import MALFORMED, _Uvicorn

if TYPE_CHECKING:
    from collections.abc import Callable

OWN = {
    "_await_headers",
    "_close_slow",
    "_drop_unfinished",
    "_feed",
    "_close",
    "_feed_held",
    "_feed_piece",
    "_has_room",
    "_hold",
    "_is_body_unread",
    "_is_idle",
    "_let_go",
    "cut",
    "_may_read",
    "_parse",
    "_refuse",
    "_refuse_beyond_bound",
    "_stop_taking",
    "_stop_timer",
}
"""Methods of ours; all others of the class replace one of uvicorn's."""


def test_overridden() -> None:
    """Every method that replaces one of uvicorn's has one to replace, with the same parameters."""
    found = {name for name, value in vars(BoundedHttpProtocol).items() if inspect.isfunction(value)}
    assert found >= OWN
    assert not OWN & set(dir(HttpToolsProtocol))
    for name in found - OWN - {"__init__"}:
        assert _parameters(getattr(BoundedHttpProtocol, name)) == _parameters(getattr(HttpToolsProtocol, name)), name
    assert _parameters(Flow.resume_reading) == _parameters(FlowControl.resume_reading)
    for method in ("startup", "capture_signals"):
        assert _parameters(getattr(_Uvicorn, method)) == _parameters(getattr(uvicorn.Server, method))


def _parameters(function: Callable[..., object]) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("caller", "names"),
    [
        pytest.param(HttpToolsProtocol.connection_made, {"connections", "client", "flow"}, id="connection_made"),
        pytest.param(HttpToolsProtocol.connection_lost, {"cycle", "disconnected", "message_event"}, id="lost"),
        pytest.param(
            HttpToolsProtocol.data_received,
            {"_unset_keepalive_if_required", "feed_data", "send_400_response", "_unsupported_upgrade_warning"},
            id="data_received",
        ),
        pytest.param(HttpToolsProtocol.on_header, {"headers"}, id="on_header"),
        pytest.param(
            HttpToolsProtocol.on_headers_complete,
            {"url", "_start_asgi_task", "pipeline", "appendleft", "pause_reading", "response_complete", "cycle"},
            id="on_headers_complete",
        ),
        pytest.param(HttpToolsProtocol.on_body, {"body", "pause_reading", "flow"}, id="on_body"),
        pytest.param(
            HttpToolsProtocol.on_response_complete,
            {"resume_reading", "pipeline", "pop", "_start_asgi_task", "timeout_keep_alive_task"},
            id="on_response_complete",
        ),
        pytest.param(
            RequestResponseCycle.send,
            {"write_paused", "drain", "keep_alive", "response_started", "response_complete", "on_response"},
            id="send",
        ),
        pytest.param(RequestResponseCycle.receive, {"resume_reading", "flow", "disconnected"}, id="receive"),
        pytest.param(uvicorn.Server.startup, {"servers", "started", "server_state", "lifespan"}, id="startup"),
        pytest.param(uvicorn.Server.shutdown, {"servers", "server_state"}, id="shutdown"),
    ],
)
def test_used(caller: Callable[..., object], names: set[str]) -> None:
    """Uvicorn still uses what ours replace, or look at, where it did."""
    found: set[str] = set()
    codes = [caller.__code__]
    while codes:
        code = codes.pop()
        found.update(code.co_names, code.co_freevars, code.co_varnames)
        codes += [constant for constant in code.co_consts if inspect.iscode(constant)]
    assert names <= found


def test_malformed() -> None:
    """Uvicorn still says with this sentence that a request is none, which is kept out of the log."""
    assert MALFORMED in HttpToolsProtocol.data_received.__code__.co_consts
