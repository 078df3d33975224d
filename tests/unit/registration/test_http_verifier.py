"""Your API decides: what it is asked, which answers count, and that everything else lets nobody in."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.access import SharedSecretError
from tests.unit.registration.app_rig import HERE, registration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECRET = "s" * 64
WHOLE = {"accept": True, "name": "Pump 3", "tags": {"site": "north"}, "attributes": {"batch": "7"}}


@dataclass
class Api:
    """An HTTP server that answers as a test says."""

    status: str = "200 OK"
    content: bytes = b'{"accept": true}'
    headers: str = ""
    delay_seconds: float = 0.0
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
            headers = {name.lower(): value for name, value in headers.items()}
            self.requests.append((headers, await reader.readexactly(int(headers["content-length"]))))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                await asyncio.sleep(self.delay_seconds)
            finally:
                self.running -= 1
            length = f"Content-Length: {len(self.content)}\r\nConnection: close\r\n"
            writer.write(f"HTTP/1.1 {self.status}\r\n{self.headers}{length}\r\n".encode() + self.content)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def _api(**answer: Any) -> AsyncIterator[Api]:
    api = Api(**answer)
    server = await asyncio.start_server(api.serve, "127.0.0.1", 0)
    api.port = server.sockets[0].getsockname()[1]
    try:
        yield api
    finally:
        server.close()
        await server.wait_closed()


def _toml(api: Api, more: str = "") -> str:
    return f"""
[registration]
verifiers = ["http"]
[registration.http]
url = "http://127.0.0.1:{api.port}/may?register=1"
secret = "{SECRET}"
{more}
"""


async def test_request_is_signed(tmp_path: Path) -> None:
    """The API gets serial, proof and address, and can tell by secret and time that it is Fleetkey who asks."""
    async with _api() as api, registration(tmp_path, _toml(api)) as served:
        await served.register("SN-1 é", "p")
    ((headers, body),) = api.requests
    assert json.loads(body) == {"serial": "SN-1 é", "proof": "p", "address": HERE}
    stamp = headers["fleetkey-timestamp"]
    assert abs(int(stamp) - time.time()) < 60
    expected = hmac.digest(SECRET.encode(), stamp.encode() + b"." + body, "sha256").hex()
    assert headers["fleetkey-signature"] == f"v1={expected}"
    assert SECRET not in str(headers)


async def test_answer_is_given_to_the_device(tmp_path: Path) -> None:
    """Name, tags and attributes of the answer are the new device's."""
    async with _api(content=json.dumps(WHOLE).encode()) as api, registration(tmp_path, _toml(api)) as served:
        device = served.store.get_device((await served.register("SN-1"))["deviceId"])
        assert (device.name, device.tags, device.attributes) == ("Pump 3", {"site": "north"}, {"batch": "7"})


async def test_refused(tmp_path: Path) -> None:
    """`accept: false` is a refusal like any other."""
    async with _api(content=b'{"accept": false}') as api, registration(tmp_path, _toml(api)) as served:
        refused = await served.post("SN-1")
        assert (refused.status_code, refused.json()["detail"]) == (400, "This serial may not register.")
        assert served.reasons() == ["http:refused"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param({"status": "500 Oops"}, "bad_status", id="error"),
        pytest.param({"status": "401 No"}, "bad_status", id="unauthorized"),
        pytest.param({"status": "204 No Content", "content": b""}, "bad_status", id="no_content"),
        pytest.param({"status": "302 Found", "headers": "Location: /x\r\n"}, "bad_status", id="redirect"),
        pytest.param(
            {"status": "302 Found", "headers": "Location: http://xn--a/\r\n"}, "bad_status", id="odd_redirect"
        ),
        pytest.param({"content": b'{"accept": true, "tag": {"a": "1"}}'}, "bad_answer", id="misspelt_field"),
        pytest.param({"content": b'{"accept": false, "accept": true}'}, "bad_answer", id="accept_twice"),
        pytest.param({"content": b""}, "bad_answer", id="empty"),
        pytest.param({"content": b"yes"}, "bad_answer", id="no_json"),
        pytest.param({"content": b"[" * 10_000}, "bad_answer", id="nested"),
        pytest.param({"content": b"{}"}, "bad_answer", id="no_accept"),
        pytest.param({"content": b'{"accept": "true"}'}, "bad_answer", id="accept_is_text"),
        pytest.param({"content": b'{"accept": 1}'}, "bad_answer", id="accept_is_number"),
        pytest.param({"content": b'{"accept": true, "tags": {"a": 1}}'}, "bad_answer", id="tag_is_number"),
        pytest.param({"content": b'{"accept": true, "tags": {"a": ""}}'}, "bad_answer", id="tag_is_empty"),
        pytest.param({"content": b'{"accept": true, "name": "a\\nb"}'}, "bad_answer", id="name_with_line_end"),
        pytest.param({"content": b'{"accept": true}' + b" " * 17_000}, "answer_too_large", id="too_large"),
        pytest.param({"delay_seconds": 5}, "too_slow", id="too_slow"),
    ],
)
async def test_undecided(tmp_path: Path, answer: dict[str, Any], reason: str) -> None:
    """Anything but a whole answer lets nobody in: 503, to ask again."""
    async with _api(**answer) as api, registration(tmp_path, _toml(api, "timeout_seconds = 0.3")) as served:
        undecided = await served.post("SN-1")
        assert undecided.status_code == 503
        assert undecided.headers["retry-after"]
        assert served.reasons() == [f"http:{reason}"]
        assert served.store.count_devices() == 0


async def test_cookies(tmp_path: Path) -> None:
    """What the API would have kept, and could not be sent back, changes nothing for the next registration."""
    async with _api(headers="Set-Cookie: session=café\r\n") as api, registration(tmp_path, _toml(api)) as served:
        for number in range(3):
            await served.register(f"SN-{number}")
    assert all("cookie" not in headers for headers, _ in api.requests)


async def test_unreachable(tmp_path: Path) -> None:
    """No API, no registration."""
    async with _api() as api:
        pass
    async with registration(tmp_path, _toml(api)) as served:
        assert (await served.post("SN-1")).status_code == 503
        assert served.reasons() == ["http:unreachable"]


async def test_unknown_profile(tmp_path: Path) -> None:
    """A profile that the settings don't have is a mistake, and nobody gets less or more than was meant: 503."""
    content = b'{"accept": true, "profile": "pump"}'
    async with _api(content=content) as api, registration(tmp_path, _toml(api)) as served:
        assert (await served.post("SN-1")).status_code == 503
        assert served.reasons() == ["profile_unusable"]
        assert served.store.count_devices() == 0


async def test_bounded_and_beside_the_loop(tmp_path: Path) -> None:
    """So many requests run and so many wait, others are turned away at once; meanwhile the server answers."""
    more = "max_concurrent = 2\nmax_waiting = 3"
    async with _api(delay_seconds=0.3) as api, registration(tmp_path, _toml(api, more)) as served:
        asked = [asyncio.create_task(served.post(f"SN-{number}")) for number in range(8)]
        await asyncio.sleep(0.1)
        began = time.perf_counter()
        assert (await served.client.get("/health")).status_code == 200
        assert time.perf_counter() - began < 0.2
        statuses = sorted([answer.status_code for answer in await asyncio.gather(*asked)])
        assert statuses == [200] * 5 + [503] * 3
        assert api.most_running == 2
        assert served.reasons() == ["http:too_many_waiting"] * 3


async def test_secret_file(tmp_path: Path) -> None:
    """The secret may be in a file; one that isn't there stops the start and is named."""
    file = tmp_path / "api.secret"
    async with _api() as api:
        toml = _toml(api).replace(f'secret = "{SECRET}"', f'secret_file = "{file}"')
        with pytest.raises(SharedSecretError, match=r"api\.secret can't be read"):
            async with registration(tmp_path, toml):
                pass
        file.write_text(f"{SECRET}\n")
        async with registration(tmp_path, toml) as served:
            await served.register("SN-1")
    stamp = api.requests[0][0]["fleetkey-timestamp"]
    expected = hmac.digest(SECRET.encode(), stamp.encode() + b"." + api.requests[0][1], "sha256").hex()
    assert api.requests[0][0]["fleetkey-signature"] == f"v1={expected}"
