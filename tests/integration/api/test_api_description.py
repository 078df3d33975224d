"""The API answers as its description says, whatever is sent to it (schemathesis)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from fleetkey.management import AuditAction
from fleetkey.registry import Role

if TYPE_CHECKING:
    from schemathesis import Case
    from schemathesis.schemas import APIOperation

    from tests.integration.api.api_rig import Api

    Operation = APIOperation[Any, Any, Any, Any]

EXAMPLES = 25
MIN_OPERATIONS = 20
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
# A query or a body of text is a text whatever it was made from, so that the description would forbid it can't be seen.
JSON_ALONE = {
    "/api/v1/serials",
    "/api/v1/devices/bulk",
    "/api/v1/devices/{device_id}",
    "/api/v1/devices/{device_id}/tags",
    "/api/v1/devices/{device_id}/rotate-keys",
    "/api/v1/keys",
    "/api/v1/tokens",
}


@pytest.fixture(scope="module")
def operations(api: Api) -> list[Operation]:
    """Return what the server describes of the admin API, with something in the fleet."""
    for number in range(3):
        api.device(f"SN-{number}", is_pending=number == 1, tags={"site": "north"}, attributes={"batch": "7"})
    described = schemathesis.openapi.from_url(f"{api.server.url}/schema/openapi.json")
    operations = list(described.include(path_regex="^/api/v1").get_all_operations())
    assert all(isinstance(operation, Ok) for operation in operations)
    return [operation.ok() for operation in operations if isinstance(operation, Ok)]


@pytest.mark.parametrize("mode", GenerationMode)
def test_described_operations(api: Api, operations: list[Operation], mode: GenerationMode) -> None:
    """No request, good or bad, meets a server error or an answer that isn't described."""
    assert len(operations) >= MIN_OPERATIONS
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {api.tokens[Role.ADMIN]}"
        for operation in operations:
            _try(operation, session, mode)


def _try(operation: Operation, session: requests.Session, mode: GenerationMode) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    def check(case: Case[Any]) -> None:
        has_json_alone = operation.path in JSON_ALONE and operation.method.lower() in {"post", "patch"}
        refusal = [checks.negative_data_rejection] if has_json_alone else []
        case.call_and_validate(session=session, checks=[*CHECKS, *refusal])

    check()


def test_described_answers(api: Api, operations: list[Operation]) -> None:
    """What is answered when everything is there has the shape that is described."""
    device_id, key = api.device("SN-described", tags={"site": "north"}, attributes={"batch": "7"})
    pending, _ = api.device("SN-described-pending", is_pending=True)
    api.store.add_serials(["SN-described"], actor="test")
    token_id = api.token(Role.VIEWER).split("_")[1]
    key_body = {"name": "backend", "scope": {"tags": {"site": "north"}}, "expires": "30d"}
    bodies: dict[str, Any] = {
        "POST /serials": {"serials": ["SN-described-too"]},
        "POST /devices/bulk": {"action": "enable", "tags": {"site": "north"}},
        "PATCH /devices/{device_id}": {"name": "Pump"},
        "PATCH /devices/{device_id}/tags": {"tags": {"a": "b"}},
        "POST /devices/{device_id}/rotate-keys": {},
        "POST /keys": key_body,
        "POST /keys/losant": {"name": "backend", "deviceTags": [{"key": "site", "value": "north"}]},
        "POST /tokens": {"name": "ci", "role": "viewer"},
    }
    queries: dict[str, dict[str, str]] = {
        "DELETE /serials": {"serial": "SN-described"},
        "GET /explain": {"what": device_id},
        "GET /explain/topic": {"action": "subscribe", "topic": "#", "key": key},
    }
    for operation in sorted(operations, key=lambda operation: operation.method.upper() == "DELETE"):
        method, path = operation.method.upper(), operation.path.removeprefix("/api/v1")
        if path == "/serials/import":
            continue
        is_undecided = path.endswith(("/approve", "/reject"))
        values = {
            "device_id": pending if is_undecided else device_id,
            "key": key,
            "token_id": token_id,
            "name": "backend",
        }
        if path.endswith("/reject"):
            values["device_id"] = api.device("SN-described-rejected", is_pending=True)[0]
        body = bodies.get(f"{method} {path}")
        options: dict[str, Any] = {} if body is None else {"body": body, "media_type": "application/json"}
        case = operation.Case(
            path_parameters={name: value for name, value in values.items() if f"{{{name}}}" in path},
            query=queries.get(f"{method} {path}", {}),
            **options,
        )
        response = case.call(headers={"Authorization": f"Bearer {api.tokens[Role.ADMIN]}"})
        assert response.status_code < 300, (method, path, response.text)
        case.validate_response(response, checks=CHECKS)


def test_described_words_of_the_audit(api: Api) -> None:
    """What may be asked of the audit is described, since another word is refused."""
    described = requests.get(f"{api.server.url}/schema/openapi.json", timeout=10).json()
    parameters = described["paths"]["/api/v1/audit"]["get"]["parameters"]
    enums = {one["name"]: one["schema"].get("enum") for one in parameters}
    assert enums["action"] == [action.value for action in AuditAction]
    assert enums["outcome"] == ["ok", "refused", "pending"]


def test_described_metrics(api: Api) -> None:
    """What Prometheus gets is described as well, for this machine and for others."""
    described = schemathesis.openapi.from_url(f"{api.server.url}/schema/openapi.json")
    case = described["/metrics"]["GET"].Case()
    for headers, status in ({}, 200), ({"X-Forwarded-For": "192.0.2.1"}, 403):
        response = case.call(headers=headers)
        assert response.status_code == status
        case.validate_response(response, checks=CHECKS)
