"""Request bodies in memory are bounded: of one token, and of all together."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from fleetkey.admin_api.bodies import MAX_BODIES_BYTES, MAX_BODIES_BYTES_PER_TOKEN
from fleetkey.admin_api.context import MAX_BODY_BYTES
from fleetkey.registry import Role
from tests.support.streams import TcpStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.api.api_rig import Api

BODY = b'{"serials":["SN-BODY"]}'.ljust(MAX_BODY_BYTES)
OF_A_TOKEN = MAX_BODIES_BYTES_PER_TOKEN // MAX_BODY_BYTES
OF_ALL = MAX_BODIES_BYTES // MAX_BODY_BYTES


def _statuses(api: Api, tokens: Sequence[str]) -> list[int]:
    """Send a body with each token, all of them at the same time; return the statuses of the answers."""
    with ExitStack() as stack:
        streams = []
        for token in tokens:
            head = (
                f"POST /api/v1/serials HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
            )
            stream = stack.enter_context(TcpStream(api.server.http_port, head.encode()))
            streams.append(stream)
            # Without the last byte, it stays in memory.
            with suppress(ConnectionError):
                stream.send(BODY[:-1])
        return [_status(stream) for stream in streams]


def _status(stream: TcpStream) -> int:
    """Send the last byte, and return the status of the answer."""
    try:
        stream.send(BODY[-1:])
        return int(stream.receive().split()[1])
    except ConnectionError:
        # It was refused a while ago, and closed since it went on sending.
        return 503


def test_bodies_of_a_token(api: Api) -> None:
    """As many bodies as the bound allows are taken, any more are refused, and afterwards there is room again."""
    token, other = (api.token(Role.OPERATOR) for _ in range(2))
    for _ in range(2):
        assert _statuses(api, [token] * OF_A_TOKEN) == [200] * OF_A_TOKEN
        *refused, of_other = _statuses(api, [*[token] * (OF_A_TOKEN + 2), other])
        assert of_other == 200
        assert set(refused) == {200, 503}


def test_bodies_of_all(api: Api) -> None:
    """Many tokens together have a bound, too."""
    tokens = [api.token(Role.OPERATOR) for _ in range(OF_ALL + 2)]
    assert _statuses(api, tokens[:OF_ALL]) == [200] * OF_ALL
    assert set(_statuses(api, tokens)) == {200, 503}
    assert _statuses(api, tokens[:OF_ALL]) == [200] * OF_ALL
