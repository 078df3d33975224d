"""`GET /api/v1/explain` and `/explain/topic`: who may ask, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import Role
from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from tests.integration.api.api_rig import Api

TOPIC = "explain/topic?action=publish&topic=x&key="


@pytest.mark.parametrize("role", Role)
def test_roles(api: Api, role: Role) -> None:
    """Whoever may read the audit may ask; without a token, nobody."""
    _, key = api.device(f"SN-explained-{role.value}")
    for path in ("explain", f"explain?what={key}", f"{TOPIC}{key}"):
        assert api.ask("GET", path, role=role).status_code == 200
        assert_problem(api.ask("GET", path, role=None), 401)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("explain?what=", 400),
        (f"explain?what={'x' * 1_025}", 400),
        ("explain?limit=0", 400),
        ("explain?limit=1001", 400),
        ("explain?nonsense=1", 400),
        ("explain/topic", 400),
        ("explain/topic?action=publish&topic=x", 400),
        (f"{TOPIC}{'0' * 32}&device_id={'0' * 24}", 400),
        (f"explain/topic?action=dance&topic=x&key={'0' * 32}", 400),
        (f"{TOPIC}{'0' * 32}", 404),
        (f"explain/topic?action=will&topic=x&device_id={'0' * 24}", 404),
    ],
)
def test_refused(api: Api, path: str, status: int) -> None:
    """What makes no sense, or isn't there, is refused like everywhere."""
    assert_problem(api.ask("GET", path, role=Role.VIEWER), status)


def test_unknown(api: Api) -> None:
    """Something unknown is explained, and said to be unknown."""
    found = api.json("GET", "explain", params={"what": "SN-nowhere"}, role=Role.VIEWER)
    assert (found["is_known"], found["events"]) == (False, [])
