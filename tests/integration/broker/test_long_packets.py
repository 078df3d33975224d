"""A packet with as many filters as may be, on a real broker: how much of it is done before others have their turn."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.codec.reader import Reader
from fleetkey.broker.work import WORK_AT_ONCE, WORK_PER_TURN, filter_cost
from tests.integration.broker.broker_rig import running
from tests.support.packets import Kind, connect, packet, subscribe, text, unsubscribe
from tests.support.streams import TcpStream
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fleetkey.broker import FleetkeyBroker
    from fleetkey.broker.session import Session
    from tests.integration.auth_plugin.plain_broker import PlainBroker
    from tests.support.fleet import Credentials

MOST = 1_000
"""`max_subscriptions_per_application`."""
SECONDS = 20
FILTERS = [f"devices/{number:024x}/" + "a/" * 28 + "b" for number in range(MOST)]
"""As deep as they may be, and each a branch of its own."""
AT_ONCE = 2 * (WORK_PER_TURN + WORK_AT_ONCE) // filter_cost(FILTERS[0])
"""Filters that are looked at at most between two looks of the test, which may have two turns between them."""


class Watched:
    """The broker, and a client of it that is in."""

    def __init__(self, hosted: FleetkeyBroker, broker: PlainBroker, client: Wire, who: Credentials) -> None:
        self.hosted = hosted
        self.broker = broker
        self.client = client
        self.who = who

    @property
    def session(self) -> Session:
        """The client's session."""
        session = self.hosted.core.sessions.get(self.who.client_id)
        assert session is not None
        return session

    def watch(self, count: Callable[[], int], *, until: int, send: bytes | None) -> list[int]:
        """Send something and return what `count` gave in each round of the loop, until it gives `until`."""

        async def look() -> list[int]:
            seen = [count()]
            async with asyncio.timeout(SECONDS):
                while seen[-1] != until:
                    await asyncio.sleep(0)
                    seen.append(count())
            return seen

        looking = asyncio.run_coroutine_threadsafe(look(), self.hosted.core.scheduler.loop)
        if send is not None:
            self.client.send(send)
        else:
            self.client.close()
        return looking.result(SECONDS)


@contextmanager
def _watched(folder: Path, *, is_clean: bool = True) -> Iterator[Watched]:
    with running(folder, {}) as (broker, hosted):
        who = broker.application()
        with Wire(TcpStream(broker.port)) as client:
            client.log_in(connect(who.client_id, username=who.key, password=who.secret, clean=is_clean))
            yield Watched(hosted, broker, client, who)


def _steps(seen: list[int]) -> list[int]:
    return [abs(after - before) for before, after in itertools.pairwise(seen)]


def _holders(hosted: FleetkeyBroker) -> int:
    return sum(1 for _ in hosted.core.subscriptions.filters())


def test_subscribe_and_unsubscribe(tmp_path: Path) -> None:
    """A thousand filters are granted, and taken away, a few in each turn; the answer comes behind the last."""
    with _watched(tmp_path) as watched:
        seen = watched.watch(lambda: len(watched.session.subscriptions), until=MOST, send=subscribe(1, *FILTERS))
        assert max(_steps(seen)) <= AT_ONCE
        answer = watched.client.find(Kind.SUBACK)
        assert answer is not None
        assert answer.body == b"\0\x01" + bytes(MOST)
        seen = watched.watch(lambda: len(watched.session.subscriptions), until=0, send=unsubscribe(2, *FILTERS))
        assert max(_steps(seen)) <= AT_ONCE
        assert watched.client.find(Kind.UNSUBACK) is not None


def test_disconnect(tmp_path: Path) -> None:
    """When a session with a thousand filters ends, the tree lets go of a few in each turn, and of all in the end."""
    with _watched(tmp_path) as watched:
        watched.client.send(subscribe(1, *FILTERS))
        assert watched.client.find(Kind.SUBACK) is not None
        seen = watched.watch(lambda: _holders(watched.hosted), until=0, send=None)
        assert max(_steps(seen)) <= AT_ONCE
        assert len(watched.hosted.core.sessions) == 0


def test_packets_behind_it(tmp_path: Path) -> None:
    """What comes behind a long packet is handled behind it, in order."""
    with _watched(tmp_path) as watched:
        watched.client.send(subscribe(1, *FILTERS) + b"\xc0\0" + unsubscribe(2, *FILTERS) + b"\xc0\0")
        kinds: list[int] = []
        while len(kinds) < 4:
            got = watched.client.read()
            assert got is not None
            kinds.append(got.kind)
        assert kinds == [Kind.SUBACK, Kind.PINGRESP, Kind.UNSUBACK, Kind.PINGRESP]


def test_client_leaves_meanwhile(tmp_path: Path) -> None:
    """A client that is gone before its packet is handled leaves a session that has what was granted, and no more."""
    with _watched(tmp_path, is_clean=False) as watched:
        watched.client.send(subscribe(1, *FILTERS))
        watched.client.close()
        who = watched.who
        with Wire(TcpStream(watched.broker.port)) as again:
            log_in = connect(who.client_id, username=who.key, password=who.secret, clean=False)
            assert again.log_in(log_in) == 0
            assert again.is_session_present
            session = watched.session
            assert session.subscriptions.keys() <= set(FILTERS)
            again.send(subscribe(1, *FILTERS))
            answer = again.find(Kind.SUBACK)
            assert answer is not None
            assert len(watched.session.subscriptions) == MOST
            assert _holders(watched.hosted) == MOST


@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
def test_tiny_filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Of a packet with more filters than may be, no more are read than may be; the connection is closed."""
    read: list[int] = []
    text_of = Reader.text

    def counted(reader: Reader) -> str:
        read.append(1)
        return text_of(reader)

    count = 60_000
    body = b"\0\x01" + (text("a") + b"\0") * count if kind == "subscribe" else b"\0\x01" + text("a") * count
    with _watched(tmp_path) as watched:
        monkeypatch.setattr(Reader, "text", counted)
        watched.client.send(packet(Kind.SUBSCRIBE if kind == "subscribe" else Kind.UNSUBSCRIBE, 2, body))
        assert watched.client.is_closed_by_broker()
        assert len(read) == MOST
        assert watched.hosted.core.counters.bounds["max_subscriptions_per_application"] == 1
