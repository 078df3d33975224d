"""`GET /api/v1/refusals`: who was refused, why, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.registry import RefusalIncrement, RefusalListener, RefusalReason, RefusalStage, Role
from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from tests.integration.api.api_rig import Api

AT = 1_700_000_000_000


def refused(**changes: Any) -> RefusalIncrement:
    """Return a refusal of an unlisted serial, unless told otherwise."""
    values: dict[str, Any] = {
        "stage": RefusalStage.REGISTER,
        "reason": RefusalReason.NOT_LISTED,
        "count": 1,
        "first_at": AT,
        "last_at": AT + 1_500,
        "listener": RefusalListener.HTTP,
        "address": "192.0.2.1",
        "claimant": "address:192.0.2.1",
    }
    return RefusalIncrement(**{**values, **changes})


def asked(api: Api, **query: str) -> list[dict[str, Any]]:
    """Return the records that match."""
    items: list[dict[str, Any]] = api.json("GET", "refusals", role=Role.VIEWER, params=query)["items"]
    return items


def test_record(api: Api) -> None:
    """A record has what was claimed, why it was refused, what to do, and the command to paste."""
    api.store.add_refusals([refused(serial="SN 'odd'", claimant="serial:odd", count=3)])
    (record,) = asked(api, serial="SN 'odd'")
    assert record == {
        "position": record["position"],
        "first_at": "2023-11-14T22:13:20.000Z",
        "last_at": "2023-11-14T22:13:21.500Z",
        "count": 3,
        "stage": "register",
        "reason": "allowlist:not_listed",
        "meaning": RefusalReason.NOT_LISTED.meaning,
        "advice": RefusalReason.NOT_LISTED.advice,
        "command": "fleetkey serials add 'SN '\"'\"'odd'\"'\"''",
        "detail": "",
        "listener": "http",
        "address": "192.0.2.1",
        "serial": "SN 'odd'",
        "key": None,
        "client_id": None,
        "topic": None,
        "device_id": None,
        "is_proven": False,
        "is_known": False,
    }


def test_filters(api: Api) -> None:
    """Each filter finds what it names."""
    device_id, key = api.device("SN-refused")
    api.store.add_refusals(
        [
            refused(
                stage=RefusalStage.CONNECT,
                reason=RefusalReason.WRONG_SECRET,
                key=key,
                client_id="a-client",
                address="192.0.2.77",
                last_at=AT + 86_400_000,
            )
        ]
    )
    for query in (
        {"device_id": device_id},
        {"key": key},
        {"client_id": "a-client"},
        {"address": "192.0.2.77"},
        {"stage": "connect", "reason": "wrong_secret"},
        {"since": "2023-11-15T12:00:00Z"},
    ):
        assert [record["device_id"] for record in asked(api, **query)] == [device_id], query
    assert asked(api, key=key, client_id="another") == []


def test_pages(api: Api) -> None:
    """Pages are bounded, newest first, and together have each record once."""
    api.store.add_refusals(
        [refused(claimant=f"client:{number}", client_id="paged", detail=f"{number}") for number in range(25)]
    )
    seen, cursor = list[str](), None
    while True:
        query = {"client_id": "paged", "limit": "10"} | ({"cursor": cursor} if cursor else {})
        page = api.json("GET", "refusals", params=query)
        assert len(page["items"]) <= 10
        seen += [record["detail"] for record in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert cursor.startswith("refusal:")
    assert seen == [f"{number}" for number in reversed(range(25))]


@pytest.mark.parametrize("role", Role)
def test_roles(api: Api, role: Role) -> None:
    """Whoever may read the audit may read them; without a token, nobody."""
    assert api.ask("GET", "refusals", role=role).status_code == 200
    assert_problem(api.ask("GET", "refusals", role=None), 401)
