"""Reads are answered from memory while nothing is committed, and never a moment longer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fleetkey.admin_api import cache
from fleetkey.admin_api.cache import ApiCache
from fleetkey.management import TokenService
from fleetkey.registry import DeviceState, Role, SqliteStore, Token
from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.integration.api.api_rig import Api


def test_changes_of_others_show_at_once(api: Api) -> None:
    """What another process commits is in the next answer, of one device and of lists, however often it was asked."""
    device_id, _ = api.device("SN-REMEMBERED")
    for round_ in range(20):
        state = DeviceState.DISABLED if round_ % 2 else DeviceState.ACTIVE
        api.store.set_device_state(device_id, state, actor="test")
        for _ in range(3):
            assert api.json("GET", f"/devices/{device_id}")["state"] == state
            (item,) = api.json("GET", "/devices", params={"serial": "SN-REMEMBERED"})["items"]
            assert item["state"] == state
    assert api.ask("DELETE", f"/devices/{device_id}").is_success
    assert_problem(api.ask("GET", f"/devices/{device_id}"), 404)


def test_remembered_answer_needs_good_token(api: Api) -> None:
    """An answer that is remembered goes to nobody whose token isn't good: unknown, revoked by another, or over."""
    device_id, _ = api.device("SN-REMEMBERED-TOKEN")
    path = f"/devices/{device_id}"
    tokens = TokenService(api.store)
    lasting = tokens.create("lasting", Role.VIEWER, actor="test")
    over_at = time.time() + 2
    brief = tokens.create("brief", Role.VIEWER, expires_at=int(over_at * 1000), actor="test")
    headers = [{"Authorization": f"Bearer {token.text.reveal()}"} for token in (lasting, brief)]
    unknown = {"Authorization": headers[0]["Authorization"][:-64] + "0" * 64}
    for _ in range(3):
        assert_problem(api.ask("GET", path, role=None), 401)
        assert_problem(api.ask("GET", path, role=None, headers=unknown), 401)
        for header in headers:
            # Twice: that a refusal was audited is a commit.
            assert api.ask("GET", path, role=None, headers=header).is_success
            assert api.ask("GET", path, role=None, headers=header).is_success
    time.sleep(max(0, over_at + 0.1 - time.time()))
    assert_problem(api.ask("GET", path, role=None, headers=headers[1]), 401)
    assert api.ask("GET", path, role=None, headers=headers[0]).is_success
    tokens.revoke(lasting.token.token_id, actor="test")
    assert_problem(api.ask("GET", path, role=None, headers=headers[0]), 401)


def test_wrong_query_is_never_remembered(api: Api) -> None:
    """A refused request is refused again."""
    for _ in range(3):
        assert_problem(api.ask("GET", "/devices", params={"limit": 0}), 400)
        assert_problem(api.ask("GET", "/devices", params={"nothing": "x"}), 400)


def _token(store: SqliteStore) -> Token:
    """Return a token as the registry knows it."""
    tokens = TokenService(store)
    token = tokens.check(tokens.create("t", Role.VIEWER, actor="test").text.reveal())
    assert isinstance(token, Token)
    return token


def test_commit_while_reading(tmp_path: Path) -> None:
    """What was read before a commit isn't kept after it."""
    store = SqliteStore(tmp_path / "fleetkey.db")
    watch = store.watch(waits=False)
    try:
        answers = ApiCache(watch)
        since = answers.moment()
        store.add_serials(["SN-1"], actor="test")
        answers.keep_answer(("/a", b""), b"old", since=since)
        answers.keep_token("text", _token(store), since=since)
        answers.moment()
        assert answers.answer(("/a", b"")) is None
        assert answers.token("text") is None
        answers.keep_answer(("/a", b""), b"new", since=answers.moment())
        assert answers.answer(("/a", b"")) == b"new"
    finally:
        watch.close()
        store.close()


def test_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest tokens and answers are forgotten for new ones; an answer over the bound isn't kept."""
    monkeypatch.setattr(cache, "MAX_REMEMBERED_BYTES", 100)
    monkeypatch.setattr(cache, "MAX_REMEMBERED_TOKENS", 2)
    store = SqliteStore(tmp_path / "fleetkey.db")
    token = _token(store)
    watch = store.watch(waits=False)
    try:
        answers = ApiCache(watch)
        since = answers.moment()
        for name in "abc":
            answers.keep_answer((name, b""), bytes(39), since=since)
            answers.keep_token(name, token, since=since)
        answers.keep_answer(("d", b""), bytes(100), since=since)
        assert [answers.answer((name, b"")) is not None for name in "abcd"] == [False, True, True, False]
        assert [answers.token(name) is not None for name in "abc"] == [False, True, True]
    finally:
        watch.close()
        store.close()
