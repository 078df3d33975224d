"""amqtt's topic plugins, asked without waiting: whatever one does but say yes refuses, and nothing gets out of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from structlog.testing import capture_logs

from fleetkey.access import Action
from fleetkey.broker.amqtt.topic_plugins import TopicPlugins
from fleetkey.broker.amqtt.views import SessionViews
from tests.unit.broker.rig import session_of

if TYPE_CHECKING:
    from amqtt.plugins.base import BaseTopicPlugin


class Yes:
    """Allows everything."""

    async def topic_filtering(self, **_: Any) -> Any:
        """Allow."""
        return True


class No(Yes):
    """Refuses everything."""

    async def topic_filtering(self, **_: Any) -> Any:
        """Refuse."""
        return False


class Silent(Yes):
    """Has no opinion."""

    async def topic_filtering(self, **_: Any) -> Any:
        """Say nothing."""
        return None


class Broken(Yes):
    """Fails."""

    async def topic_filtering(self, **_: Any) -> Any:
        """Fail."""
        raise RuntimeError


class Outdated(Yes):
    """Takes other arguments than it is given."""

    async def topic_filtering(self, session: Any, topic: str) -> Any:  # type: ignore[override] # what it is about
        """Allow."""
        del session, topic
        return True


class Slow(Yes):
    """Waits before it answers."""

    async def topic_filtering(self, **_: Any) -> Any:
        """Wait."""
        await asyncio.sleep(0)
        return True


class SlowToEnd(Yes):
    """Waits, and waits again when it is told not to."""

    async def topic_filtering(self, **_: Any) -> Any:
        """Wait twice."""
        try:
            await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
        return True


def _allows(*plugins: Yes, times: int = 1) -> bool:
    asked = TopicPlugins(cast("list[BaseTopicPlugin]", list(plugins)), SessionViews())
    session = session_of("a", "a")
    (answer,) = {asked.allow(session, Action.RECEIVE, "x") for _ in range(times)}
    return answer


@pytest.mark.parametrize(
    ("plugins", "is_allowed"),
    [
        pytest.param([], True, id="none"),
        pytest.param([Yes()], True, id="yes"),
        pytest.param([Yes(), Yes()], True, id="all"),
        pytest.param([Yes(), No()], False, id="not_all"),
        pytest.param([No(), Yes()], False, id="not_the_first"),
        pytest.param([Silent()], False, id="no_opinion"),
    ],
)
def test_allow(plugins: list[Yes], *, is_allowed: bool) -> None:
    """All have to say yes."""
    assert _allows(*plugins) is is_allowed


@pytest.mark.parametrize("plugin", [Broken(), Outdated(), Slow(), SlowToEnd()], ids=lambda each: type(each).__name__)
def test_allow_without_answer(plugin: Yes) -> None:
    """Who fails, waits or can't be asked refuses, each time; it is logged once."""
    with capture_logs() as lines:
        assert not _allows(Yes(), plugin, times=3)
    assert [(line["event"], line["plugin"]) for line in lines] == [("topic_plugin_refuses", type(plugin).__name__)]
