"""The cache of recently verified credentials."""

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


def _cache(clock: FakeClock, seconds: float = SECONDS, max_entries: int = 100) -> CredentialCache:
    return CredentialCache(seconds=seconds, max_entries=max_entries, clock=clock)


def test_find_until_expiry() -> None:
    """Credentials are found until they expire, and finding them doesn't prolong that."""
    clock = FakeClock()
    cache = _cache(clock)
    principal = _principal()
    cache.add(principal, b"right")
    clock.advance(SECONDS - 0.01)
    assert cache.find("k1", b"right") is principal
    clock.advance(0.01)
    assert cache.find("k1", b"right") is None
    assert len(cache) == 0


@pytest.mark.parametrize(
    ("key", "password"), [("k1", b"wrong"), ("k1", b""), ("k1", b"right\0"), ("k2", b"right"), ("", b"right")]
)
def test_find_wrong(key: str, password: bytes) -> None:
    """Another secret or key isn't found, and the right one still is afterwards."""
    cache = _cache(FakeClock())
    principal = _principal()
    cache.add(principal, b"right")
    assert cache.find(key, password) is None
    assert cache.find("k1", b"right") is principal


def test_find_revoked() -> None:
    """A revoked principal is never found, even if it wasn't removed."""
    cache = _cache(FakeClock())
    principal = _principal()
    cache.add(principal, b"right")
    principal.is_revoked = True
    assert cache.find("k1", b"right") is None


def test_remove_and_clear() -> None:
    """One entry can be removed, or all of them; removing an unknown one is no error."""
    cache = _cache(FakeClock())
    for key in ("k1", "k2", "k3"):
        cache.add(_principal(key), b"right")
    cache.remove("k1")
    cache.remove("k1")
    assert cache.find("k1", b"right") is None
    assert cache.find("k2", b"right")
    cache.clear()
    assert len(cache) == 0
    assert cache.find("k2", b"right") is None


def test_add_without_time() -> None:
    """With 0 seconds nothing is cached."""
    cache = _cache(FakeClock(), seconds=0)
    cache.add(_principal(), b"right")
    assert len(cache) == 0


@pytest.mark.parametrize("used_by", ["find", "add"])
def test_add_over_the_bound(used_by: str) -> None:
    """Over the bound the least recently used entry is dropped, whichever use that was."""
    cache = _cache(FakeClock(), max_entries=2)
    used, quiet, new = _principal("used"), _principal("quiet"), _principal("new")
    cache.add(used, b"s")
    cache.add(quiet, b"s")
    if used_by == "find":
        cache.find("used", b"s")
    else:
        cache.add(used, b"s")
    cache.add(new, b"s")
    assert len(cache) == 2
    assert cache.find("quiet", b"s") is None
    assert cache.find("used", b"s") is used
    assert cache.find("new", b"s") is new


def test_add_stores_no_secret() -> None:
    """Nothing in the cache holds the secret, neither itself nor as an unkeyed hash that two processes would share."""
    cache, other = _cache(FakeClock()), _cache(FakeClock())
    password = CLEAR.encode()
    for each in (cache, other):
        each.add(_principal(), password)
    seen: dict[int, object] = {}
    pending: list[object] = [cache]
    while pending:
        found = pending.pop()
        if id(found) not in seen and not isinstance(found, type):
            seen[id(found)] = found
            pending += gc.get_referents(found)
    texts = [repr(found) for found in seen.values() if isinstance(found, (str, bytes, bytearray))]
    assert len(texts) > 3
    assert not any(CLEAR in text for text in texts)
    assert CLEAR not in repr(cache)
    assert cache._entries["k1"][0] != other._entries["k1"][0]
