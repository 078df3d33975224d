"""The memory of secrets that were verified lately."""

from __future__ import annotations

import gc

import pytest

from fleetkey.access import Principal, TopicScope
from fleetkey.access.login.credential_cache import CredentialCache
from fleetkey.registry import KeyKind
from tests.unit.registry.store_rig import FakeClock

CLEAR = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
SECONDS = 60.0


def _principal(key: str = "k1") -> Principal:
    scope = TopicScope(publish=["a"], subscribe=["a"])
    return Principal(key=key, kind=KeyKind.DEVICE, device_id="d", name=None, scope=scope)


def _verified(clock: FakeClock, seconds: float = SECONDS, max_entries: int = 100) -> CredentialCache:
    return CredentialCache(seconds=seconds, max_entries=max_entries, clock=clock)


def test_find_within_its_time() -> None:
    """A verified secret is known until its time is over, and asking doesn't prolong it."""
    clock = FakeClock()
    verified = _verified(clock)
    principal = _principal()
    verified.remember(principal, b"right")
    clock.advance(SECONDS - 0.01)
    assert verified.find("k1", b"right") is principal
    clock.advance(0.01)
    assert verified.find("k1", b"right") is None
    assert len(verified) == 0


@pytest.mark.parametrize(
    ("key", "password"), [("k1", b"wrong"), ("k1", b""), ("k1", b"right\0"), ("k2", b"right"), ("", b"right")]
)
def test_find_wrong(key: str, password: bytes) -> None:
    """Another secret or key isn't known, and the right one still is afterwards."""
    verified = _verified(FakeClock())
    principal = _principal()
    verified.remember(principal, b"right")
    assert verified.find(key, password) is None
    assert verified.find("k1", b"right") is principal


def test_find_revoked() -> None:
    """A revoked principal is never found, even if nobody said to forget it."""
    verified = _verified(FakeClock())
    principal = _principal()
    verified.remember(principal, b"right")
    principal.is_revoked = True
    assert verified.find("k1", b"right") is None


def test_forget_and_clear() -> None:
    """One can be forgotten, and all of them; forgetting an unknown one is no error."""
    verified = _verified(FakeClock())
    for key in ("k1", "k2", "k3"):
        verified.remember(_principal(key), b"right")
    verified.forget("k1")
    verified.forget("k1")
    assert verified.find("k1", b"right") is None
    assert verified.find("k2", b"right")
    verified.clear()
    assert len(verified) == 0
    assert verified.find("k2", b"right") is None


def test_remember_never() -> None:
    """With no time to remember, nothing is."""
    verified = _verified(FakeClock(), seconds=0)
    verified.remember(_principal(), b"right")
    assert len(verified) == 0


@pytest.mark.parametrize("used_by", ["find", "remember"])
def test_remember_too_many(used_by: str) -> None:
    """Above the bound the least recently used is forgotten, whichever use that was."""
    verified = _verified(FakeClock(), max_entries=2)
    used, quiet, new = _principal("used"), _principal("quiet"), _principal("new")
    verified.remember(used, b"s")
    verified.remember(quiet, b"s")
    if used_by == "find":
        verified.find("used", b"s")
    else:
        verified.remember(used, b"s")
    verified.remember(new, b"s")
    assert len(verified) == 2
    assert verified.find("quiet", b"s") is None
    assert verified.find("used", b"s") is used
    assert verified.find("new", b"s") is new


def test_remember_nothing_in_clear() -> None:
    """Nothing that the memory reaches holds the secret, in whole or as an unkeyed hash that two processes share."""
    verified, other = _verified(FakeClock()), _verified(FakeClock())
    password = CLEAR.encode()
    for memory in (verified, other):
        memory.remember(_principal(), password)
    seen: dict[int, object] = {}
    pending: list[object] = [verified]
    while pending:
        found = pending.pop()
        if id(found) not in seen and not isinstance(found, type):
            seen[id(found)] = found
            pending += gc.get_referents(found)
    texts = [repr(found) for found in seen.values() if isinstance(found, (str, bytes, bytearray))]
    assert len(texts) > 3
    assert not any(CLEAR in text for text in texts)
    assert CLEAR not in repr(verified)
    assert verified._entries["k1"][0] != other._entries["k1"][0]
