"""The queue of frames in the websockets library that ours replaces; if it were moved, frames could wait without end."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.connection import Connection
from websockets.asyncio.messages import Assembler

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("caller", "names"),
    [
        pytest.param(Connection.connection_made, {"recv_messages", "max_queue", "Assembler"}, id="made"),
        pytest.param(Connection.recv, {"recv_messages", "get"}, id="recv"),
        pytest.param(Connection.process_event, {"recv_messages", "put"}, id="event"),
        pytest.param(Connection.data_received, {"protocol", "receive_data", "events_received"}, id="received"),
        pytest.param(Assembler.put, {"put", "maybe_pause"}, id="put"),
        pytest.param(Assembler.maybe_pause, {"pause", "paused", "high"}, id="pause"),
        pytest.param(Assembler.maybe_resume, {"resume", "paused", "low"}, id="resume"),
    ],
)
def test_frames_that_wait(caller: Callable[..., object], names: set[str]) -> None:
    """Frames wait in the queue that ours replaces, which still says when it is full and when it has room."""
    assert names <= set(caller.__code__.co_names)


def test_frames_that_wait_in_ours() -> None:
    """The queue takes what ours is made from."""
    assert list(inspect.signature(Assembler).parameters) == ["high", "low", "pause", "resume"]
