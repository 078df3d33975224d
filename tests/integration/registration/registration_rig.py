"""A server with the settings of a test, requests as bytes, and what a refusal must leave behind: nothing."""

from __future__ import annotations

import http.client
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import httpx

from tests.support.fleet import Fleet, note_answer
from tests.support.http import NOBODY_TRUSTED
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.streams import TcpStream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["at_refusal", "head", "identity", "is_closed", "post", "read_answer", "serving"]

ANSWER_SECONDS = 20


@contextmanager
def serving(folder: Path, *, toml: str = "", **settings: str) -> Iterator[Fleet]:
    """Run a server without rate limits, but with a settings file or variables: `registration__max_keys="3"`."""
    environment = {**NO_LIMITS, **{f"FLEETKEY_{name.upper()}": value for name, value in settings.items()}}
    with ServerProcess(folder, environment=environment, settings=toml) as server:
        yield Fleet(server)


def post(fleet: Fleet, content: bytes | Iterator[bytes], **headers: str) -> httpx.Response:
    """Post bytes to `/register` as JSON; an iterator goes without a content length."""
    sent = {"Content-Type": "application/json", **headers}
    response = httpx.post(
        f"{fleet.server.url}/register", content=content, headers=sent, timeout=30, verify=NOBODY_TRUSTED
    )
    note_answer(response)
    return response


def head(path: str = "/register", *, method: str = "POST", **headers: str) -> bytes:
    """Return a request's line and headers, without the empty line that ends them."""
    fields = {"Host": "localhost", "Content-Type": "application/json", **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "".join(f"{line}\r\n" for line in lines).encode()


def read_answer(connection: TcpStream, path: str = "/register") -> httpx.Response:
    """Read one whole answer to a request for a path."""
    connection.raw.settimeout(ANSWER_SECONDS)
    with closing(http.client.HTTPResponse(connection.raw)) as raw:
        raw.begin()
        content = raw.read()
    request = httpx.Request("POST", f"http://localhost{path}")
    response = httpx.Response(raw.status, headers=raw.getheaders(), content=content, request=request)
    note_answer(response)
    return response


def is_closed(connection: TcpStream, seconds: float) -> bool:
    """Wait for the server to close a connection on which nothing more is to be read."""
    try:
        return connection.receive(seconds) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@contextmanager
def at_refusal(fleet: Fleet, *reasons: str) -> Iterator[None]:
    """Assert that what happens inside creates no device and no key, and is audited for just these reasons."""
    with fleet.store() as store:
        newest = max((entry.seq for entry in store.last_audit(1)), default=0)
        counts = store.count_devices(), store.count_keys()
        yield
        assert (store.count_devices(), store.count_keys()) == counts
        entries = store.list_audit(after=newest)
    assert [entry.reason for entry in entries] == list(reasons)
    assert {(entry.action, entry.outcome, entry.key) for entry in entries} <= {("register", "refused", None)}


def identity(response: httpx.Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return all of an answer that a client can compare, which is everything but its date."""
    headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"date"]
    return response.status_code, headers, response.content
