"""An engine that doesn't answer."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from fleetkey.broker import engine_deadline
from fleetkey.broker.codec import Reason
from fleetkey.broker.engine import BrokerEngine, EngineError
from fleetkey.broker.engine_deadline import DeadlineEngine

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "sessions_of": ("d1",),
    "messages_of": ("d1",),
    "disconnect": ("d1", Reason.REVOKED),
    "forget": ("d1",),
}
METHODS = sorted(name for name, value in vars(BrokerEngine).items() if inspect.iscoroutinefunction(value))


class Engine:
    """Answers when it is let, with what it was asked."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        async def answer(*arguments: Any, **options: Any) -> str:
            self.asked.append((name, arguments, options))
            await self.gate.wait()
            return name

        return answer


def _ask(engine: Any, method: str) -> Any:
    options = {"sends_will": True} if method == "disconnect" else {}
    return getattr(engine, method)(*ARGUMENTS.get(method, ()), **options)


@pytest.mark.parametrize("method", METHODS)
async def test_in_time(method: str) -> None:
    """What the engine answers is passed on, as is what it was asked."""
    engine: Any = Engine()
    engine.gate.set()
    answer = await _ask(DeadlineEngine(engine), method)
    assert answer in {method, None}
    ((name, arguments, options),) = engine.asked
    assert (name, arguments) == (method, ARGUMENTS.get(method, ()))
    assert options == ({"sends_will": True} if method == "disconnect" else {})


@pytest.mark.parametrize("method", METHODS)
async def test_too_late(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """After its deadline, each method fails and says what took too long; what was begun is cancelled."""
    for name in ("ENGINE_SECONDS", "START_SECONDS", "STOP_SECONDS"):
        monkeypatch.setattr(engine_deadline, name, 0.001)
    engine: Any = Engine()
    with pytest.raises(EngineError, match=r"the broker didn't .* within 0\.001 s"):
        await _ask(DeadlineEngine(engine), method)
