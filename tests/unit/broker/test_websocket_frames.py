"""The bytes of a WebSocket client, given to the library up to the end of a frame at a time."""

from __future__ import annotations

import pytest
from websockets.frames import Opcode

from fleetkey.broker.transport.frames import FrameProtocol, frame_size
from tests.support.streams import CLOSE_FRAME, PING_FRAME, UPGRADE, frame

CONTENTS = [b"", b"x", bytes(125), bytes(126), bytes(2_000), b"", bytes(65_535), bytes(65_536), b"y"]
FRAMES = [frame(content) for content in CONTENTS]


@pytest.fixture
def protocol() -> FrameProtocol:
    """Return one that is upgraded."""
    protocol = FrameProtocol()
    protocol.incoming += UPGRADE
    assert protocol.answer_request(len(UPGRADE))
    protocol.data_to_send()
    return protocol


@pytest.mark.parametrize("most", [1, 7, 1_000_000])
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 13, 97, 500_000])
def test_one_frame_at_a_time(protocol: FrameProtocol, chunk: int, most: int) -> None:
    """However the bytes come, each read ends at the end of a frame, or when there is nothing more."""
    data, got, ends = b"".join(FRAMES), [], 0
    for start in range(0, len(data), chunk):
        protocol.incoming += data[start : start + chunk]
        while protocol.incoming:
            waiting = len(protocol.incoming)
            read, found = protocol.read_frame(most)
            assert 0 < read <= most
            assert len(protocol.incoming) == waiting - read
            ends += read
            if found is not None:
                got.append(bytes(found.data))
                assert ends == sum(map(len, FRAMES[: len(got)]))
                assert protocol.held_bytes == len(protocol.incoming)
            else:
                assert read == min(most, waiting)
    assert got == CONTENTS


def test_frame_that_is_too_long(protocol: FrameProtocol) -> None:
    """It is refused at its header, and nothing is kept of what follows."""
    protocol.incoming += frame(bytes(100_000)) + frame(b"", PING_FRAME)
    while protocol.incoming:
        assert protocol.read_frame(1_000)[1] is None
    assert protocol.eof_sent
    assert protocol.held_bytes == 0


def test_what_follows_a_close_frame(protocol: FrameProtocol) -> None:
    """It is discarded."""
    protocol.incoming += frame(b"", CLOSE_FRAME) + frame(b"x")
    _, found = protocol.read_frame(1_000)
    assert found is not None
    assert found.opcode is Opcode.CLOSE
    assert protocol.read_frame(1_000) == (len(frame(b"x")), None)
    assert protocol.held_bytes == 0


@pytest.mark.parametrize("whole", FRAMES, ids=len)
def test_frame_size(whole: bytes) -> None:
    """It is known from as many bytes as it takes, and not before."""
    sizes = [frame_size(whole[:end]) for end in range(min(len(whole), 20))]
    assert set(sizes) == {0, len(whole)}
    assert sizes == sorted(sizes)
    assert sizes.count(0) == {126: 4, 127: 10}.get(whole[1] & 0x7F, 2)
