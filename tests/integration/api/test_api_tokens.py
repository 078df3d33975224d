"""Who may do what: no token, a bad one, and one of each role, at every operation."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from fleetkey.management import TokenService
from fleetkey.registry import Role
from tests.integration.api.api_rig import Api, serving
from tests.support.http import NOBODY_TRUSTED
from tests.support.ledger import the_ledger
from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

METHODS = {"get", "post", "patch", "put", "delete"}
TOKENS_ALONE = {"GET /tokens", "POST /tokens", "POST /tokens/{token_id}/revoke"}
NO_SECRET = "0" * 64


@pytest.fixture(scope="module")
def operations(api: Api) -> list[tuple[str, str]]:
    """Return method and path of every operation that the server describes."""
    paths = httpx.get(f"{api.server.url}/schema/openapi.json", verify=NOBODY_TRUSTED).json()["paths"]
    found = [
        (method.upper(), path.removeprefix("/api/v1"))
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/api/v1") and method in METHODS
    ]
    assert len(found) > 20
    return found


def _ask(api: Api, method: str, path: str, **options: Any) -> httpx.Response:
    return api.ask(method, path.replace("{", "").replace("}", ""), **options)


def test_without_token(api: Api, operations: list[tuple[str, str]]) -> None:
    """Nothing is answered without a token, whatever else is wrong with the request."""
    for method, path in operations:
        response = _ask(api, method, path, role=None)
        assert_problem(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"


def test_viewer_changes_nothing(api: Api, operations: list[tuple[str, str]]) -> None:
    """A viewer reads, but for tokens, and every operation that changes something is refused."""
    for method, path in operations:
        response = _ask(api, method, path, role=Role.VIEWER)
        if method == "GET" and f"{method} {path}" not in TOKENS_ALONE:
            assert response.status_code != 403, path
        else:
            assert_problem(response, 403)


def test_operator_and_tokens(api: Api, operations: list[tuple[str, str]]) -> None:
    """An operator may do everything but what is about tokens."""
    for method, path in operations:
        response = _ask(api, method, path, role=Role.OPERATOR)
        assert (response.status_code == 403) == (f"{method} {path}" in TOKENS_ALONE), path


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ({"tags": {"site": "north"}}, 201),
        ({"all_devices": True}, 403),
        ({"tags": {"site": "north"}, "publish": ["#"]}, 403),
        ({"tags": {"site": "north"}, "subscribe": ["fleet/#"]}, 403),
    ],
    ids=["tags", "all", "publish", "subscribe"],
)
def test_operator_and_wide_keys(api: Api, scope: dict[str, Any], status: int) -> None:
    """An operator's application keys reach devices that they name, and no more; an admin's reach what they say."""
    body = {"name": "backend", "scope": scope}
    before = api.store.count_keys()
    assert api.ask("POST", "keys", role=Role.OPERATOR, json=body).status_code == status
    assert api.store.count_keys() - before == (status == 201)
    assert api.ask("POST", "keys", json=body).status_code == 201


def test_operator_and_wide_losant_key(api: Api) -> None:
    """Losant's JSON without a scope means all devices, so it needs an admin as well."""
    assert_problem(api.ask("POST", "keys/losant", role=Role.OPERATOR, json={"name": "backend"}), 403)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "fkt_",
        "fkt_{id}_" + NO_SECRET,
        "fkt_000000000000_{secret}",
        "FKT_{id}_{secret}",
        "fkt_{id}_{secret}0",
        "{secret}",
        "x" * 300,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_bad_token(api: Api, text: str, method: str) -> None:
    """Whatever is wrong with a token, the answer is the same."""
    _, token_id, secret = api.tokens[Role.ADMIN].split("_")
    header = {"Authorization": f"Bearer {text.format(id=token_id, secret=secret)}"}
    response = api.ask(method, "serials", role=None, headers=header)
    assert assert_problem(response, 401) == assert_problem(api.ask(method, "serials", role=None), 401)


@pytest.mark.parametrize("header", ["Basic {token}", "{token}", "Bearer", "Bearer a b", "Bearer\t{token}"])
def test_bad_header(api: Api, header: str) -> None:
    """A token is taken as a bearer token alone (RFC 6750, 2.1)."""
    value = header.format(token=api.tokens[Role.ADMIN])
    assert_problem(api.ask("GET", "", role=None, headers={"Authorization": value}), 401)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_revoked_token(api: Api, method: str) -> None:
    """The request after a revocation is refused, also when another process revoked it."""
    text = api.token(Role.ADMIN)
    header = {"Authorization": f"Bearer {text}"}
    assert api.ask("GET", "tokens", role=None, headers=header).status_code == 200
    api.store.revoke_token(text.split("_")[1], actor="test")
    assert_problem(api.ask(method, "tokens", role=None, headers=header), 401)


def test_expired_token(api: Api) -> None:
    """A token ends when its time is over."""
    header = {"Authorization": f"Bearer {api.token(Role.VIEWER, expires_at=int((time.time() + 1) * 1000))}"}
    assert api.ask("GET", "", role=None, headers=header).status_code == 200
    time.sleep(1.1)
    assert_problem(api.ask("GET", "", role=None, headers=header), 401)


def test_own_token_revoked(api: Api) -> None:
    """An admin may end the token that it uses; the answer is the last that it gets."""
    text = api.token(Role.ADMIN)
    header = {"Authorization": f"Bearer {text}"}
    assert api.ask("POST", f"tokens/{text.split('_')[1]}/revoke", role=None, headers=header).status_code == 200
    assert_problem(api.ask("GET", "tokens", role=None, headers=header), 401)


def test_created_token(api: Api) -> None:
    """A new token works at once, and is stored as a hash alone."""
    created = api.json("POST", "tokens", json={"name": "ci", "role": "viewer"})
    header = {"Authorization": f"Bearer {created['token']}"}
    assert api.json("GET", "", role=None, headers=header)["token"]["name"] == "ci"
    assert set(api.items("tokens")[-1]) == set(created) - {"token"}
    the_ledger().watch_database(api.server.database)


def test_refusals_in_the_audit(api: Api) -> None:
    """A refused request is audited once a minute and source, with who or from where, never with what was sent."""
    text = api.token(Role.VIEWER)
    header = {"Authorization": f"Bearer {text}"}
    newest = api.store.last_audit(1)[0].seq
    for _ in range(5):
        assert_problem(api.ask("POST", "serials", role=None, headers=header), 403)
    noted = [entry for entry in api.store.list_audit(after=newest) if entry.action == "api_request"]
    assert [(entry.outcome, entry.reason, entry.address) for entry in noted] == [
        ("refused", "needs_role_operator", "127.0.0.1")
    ]
    assert noted[0].actor == f"api:test-viewer:{text.split('_')[1]}"
    assert not noted[0].by_stranger


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Run a server that takes two bad tokens a minute from an address."""
    environment = {"FLEETKEY_ACCESS__MAX_FAILURES_PER_ADDRESS_PER_MINUTE": "2"}
    with serving(tmp_path_factory.mktemp("strict"), environment) as api:
        yield api


def test_too_many_bad_tokens(strict: Api) -> None:
    """Above the limit bad tokens are 429 with `Retry-After` and no more is written; a good one still gets in."""
    bad = {"Authorization": f"Bearer fkt_000000000000_{NO_SECRET}"}
    for method in ("GET", "POST"):
        assert_problem(strict.ask(method, "serials", role=None, headers=bad), 401)
    for method in ("GET", "POST", "GET"):
        response = strict.ask(method, "serials", role=None, headers=bad)
        assert_problem(response, 429)
        assert 0 < int(response.headers["retry-after"]) <= 61
    assert strict.ask("GET", "serials").status_code == 200
    noted = [entry for entry in strict.store.last_audit(100) if entry.action == "api_request"]
    assert [(entry.reason, entry.by_stranger) for entry in noted] == [("token_unknown", True)]


@pytest.mark.parametrize(
    ("path", "media_type", "body"),
    [
        ("/tokens", "application/json", b'{"name": "second", "role": "viewer"}'),
        ("/keys", "application/json", b'{"name": "second", "scope": {"all_devices": true}}'),
        ("/serials/import", "text/plain", b"SN-SLOW-BODY\n"),
    ],
)
def test_revoked_while_body_arrives(api: Api, path: str, media_type: str, body: bytes) -> None:
    """A token that is revoked before its request is whole changes nothing any more."""
    tokens = TokenService(api.store)
    thief = tokens.create("thief", Role.ADMIN, actor="test")
    before = api.items("/tokens"), api.items("/keys"), api.items("/serials")

    def slow() -> Iterator[bytes]:
        yield body[:1]
        # Time for it to be admitted with this much; if it weren't, it would be refused all the same.
        time.sleep(0.3)
        tokens.revoke(thief.token.token_id, actor="test")
        yield body[1:]

    headers = {"Authorization": f"Bearer {thief.text.reveal()}", "Content-Type": media_type}
    assert_problem(api.ask("POST", path, role=None, headers=headers, content=slow()), 401)
    assert (api.items("/tokens"), api.items("/keys"), api.items("/serials")) == (
        [token for token in before[0] if token["token_id"] != thief.token.token_id],
        *before[1:],
    )


def test_wide_key_in_the_audit(api: Api) -> None:
    """A key that needs the role admin is refused to an operator like any other request that does, and noted."""
    newest = api.store.last_audit(1)[0].seq
    header = {"Authorization": f"Bearer {api.token(Role.OPERATOR)}"}
    body = {"name": "wide", "scope": {"all_devices": True}}
    assert_problem(api.ask("POST", "keys", role=None, headers=header, json=body), 403)
    assert [entry.reason for entry in api.store.list_audit(after=newest) if entry.action == "api_request"] == [
        "needs_role_admin"
    ]
