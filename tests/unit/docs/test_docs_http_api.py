"""The HTTP interface in the documentation is the one in the code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.access import RefusalLog, build_worker_pool
from fleetkey.admin_api import build_api, build_api_pools
from fleetkey.config import MqttEndpoint, load_settings
from fleetkey.http import build_app
from fleetkey.management import build_management
from fleetkey.management.schemas import MAX_GRACE_SECONDS
from fleetkey.registration import build_registrar, register_route
from fleetkey.registration.schemas import RegisterBody
from fleetkey.registry import open_store
from tests.unit.docs.docs_pages import DOCS, rows, section

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = DOCS / "reference/http-api.md"
ADMIN_PAGE = DOCS / "reference/admin-api.md"
REQUIRED = {
    ("DELETE /api/v1/serials", "serial"),
    ("GET /api/v1/explain/topic", "action"),
    ("GET /api/v1/explain/topic", "topic"),
}
"""Parameters of a query that have no default."""
METHODS = {"get", "put", "post", "patch", "delete"}


async def _no_metrics() -> bytes:
    return b""


@pytest.fixture
def schema(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Return the OpenAPI description that the server answers."""
    file = tmp_path / "fleetkey.toml"
    file.touch()
    settings = load_settings(file, {"data_dir": tmp_path / "data"})
    store, pool, api_pools = open_store(settings), build_worker_pool(settings), build_api_pools()
    watch = store.watch(waits=False)
    endpoint = MqttEndpoint(host="127.0.0.1", port=1883, is_tls=False)
    registrar = build_registrar(settings, store, pool)
    try:
        app = build_app(
            settings=settings,
            registration=register_route(settings, registrar, endpoint),
            store=store,
            pool=pool,
            render_metrics=_no_metrics,
            api=build_api(
                settings=settings,
                management=build_management(settings, store),
                pools=api_pools,
                watch=watch,
                refusals=registrar.refusals,
                refusal_log=RefusalLog(),
                endpoint=endpoint,
            ),
        )
        yield app.openapi_schema.to_schema()
    finally:
        pool.close()
        api_pools.close()
        watch.close()
        store.close()


def _operations(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    }


def test_operations_in_the_reference(schema: dict[str, Any]) -> None:
    """Every operation has a section with a row for each of its statuses, and for no other."""
    always = _statuses(section(ADMIN_PAGE, "What every operation may answer"))
    with_body = _statuses(section(ADMIN_PAGE, "What operations with a body may also answer"))
    for name, operation in _operations(schema).items():
        if "/api/v1" not in name:
            statuses = _statuses(section(PAGE, name))
        else:
            statuses = _statuses(section(ADMIN_PAGE, name)) | always
            statuses |= with_body if "requestBody" in operation else set()
        assert statuses == set(operation["responses"]), name


def _statuses(text: str) -> set[str]:
    return {cells[0] for cells in rows(text) if re.fullmatch(r"\d{3}", cells[0])}


def test_names_in_the_admin_reference(schema: dict[str, Any]) -> None:
    """Every query parameter and every field of a body of the admin API is named in its operation's section."""
    for name, operation in _operations(schema).items():
        if "/api/v1" not in name:
            continue
        text = section(ADMIN_PAGE, name)
        named = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        if "losant" not in name:
            named |= set(body.get("properties", {}))
        for word in named:
            assert f"`{word}`" in text, f"{word} in {name}"


def test_operations_described(schema: dict[str, Any]) -> None:
    """Every operation has a short id, a summary in words, and a description that goes on from there."""
    operations = _operations(schema)
    assert len({operation["operationId"] for operation in operations.values()}) == len(operations)
    for name, operation in operations.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"]), name
        assert operation["description"].startswith(operation["summary"]), name
        assert re.fullmatch(r"[A-Z].+[^;:. ]", operation["summary"]), name
    assert operations["GET /api/v1/devices/{device_id}"]["operationId"] == "show_device"
    assert operations["GET /api/v1/devices/{device_id}"]["summary"] == "Show one device"


def test_operations_of_the_reference(schema: dict[str, Any]) -> None:
    """The reference has no operation that isn't there."""
    headings = re.findall(r"^## ([A-Z]+ /.*)$", PAGE.read_text() + ADMIN_PAGE.read_text(), re.MULTILINE)
    assert set(headings) == set(_operations(schema))


def test_fields_in_the_reference(schema: dict[str, Any]) -> None:
    """Every field of the request and of the answers is named."""
    text = section(PAGE, "POST /register")
    shapes = schema["components"]["schemas"]
    named = {*RegisterBody.__struct_fields__, *shapes["RegisterAnswer"]["properties"]} - {"mqtt"}
    named |= {f"mqtt.{name}" for name in shapes["MqttAccess"]["properties"]}
    for name in named:
        assert f"`{name}`" in text, name


def test_body_in_the_description(schema: dict[str, Any]) -> None:
    """The OpenAPI description that the reference sends its readers to has the request's body in it."""
    body = _operations(schema)["POST /register"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == set(RegisterBody.__struct_fields__)
    assert body["required"] == ["serial"]


def test_path_of_the_description(schema: dict[str, Any]) -> None:
    """The reference says where the OpenAPI description is, and which version of OpenAPI it is in."""
    assert "GET /schema/openapi.json" in PAGE.read_text()
    assert f"OpenAPI {schema['openapi'].rpartition('.')[0]}" in PAGE.read_text()


def test_answers_typed(schema: dict[str, Any]) -> None:
    """Whatever an operation answers, down to the items of a list, says which fields it has."""
    shapes = schema["components"]["schemas"]
    untyped: list[str] = []

    def look(part: Any, where: str) -> None:
        if isinstance(part, list):
            for inner in part:
                look(inner, where)
        elif isinstance(part, dict):
            if part.get("type") == "object" and not (part.get("properties") or part.get("additionalProperties")):
                untyped.append(where)
            for name, inner in part.items():
                look(inner, f"{where}.{name}")

    look(shapes, "schemas")
    for name, operation in _operations(schema).items():
        look(operation["responses"], name)
    assert not untyped
    for item in ("Device", "Serial", "Key", "Audit", "Token", "Webhook"):
        items = shapes[f"{item}Page"]["properties"]["items"]["items"]
        assert items == {"$ref": f"#/components/schemas/{item}Answer"}
    assert shapes["DeviceAnswer"]["properties"]["tags"]["additionalProperties"]["type"] == "string"
    assert shapes["DeviceAnswer"]["properties"]["policy"] == {"$ref": "#/components/schemas/PolicyAnswer"}
    assert not shapes["PolicyAnswer"].get("required")


def test_description_for_generators(schema: dict[str, Any]) -> None:
    """Operations are in groups that are described; headers, bounds and parameters are as generators need them."""
    assert schema["info"]["description"]
    assert schema["components"]["securitySchemes"]["token"]["description"]
    tags = {tag["name"] for tag in schema["tags"]}
    operations = _operations(schema)
    assert {tag for operation in operations.values() for tag in operation["tags"]} == tags
    for name, operation in operations.items():
        assert len(operation["tags"]) == 1, name
        for status, answer in operation["responses"].items():
            assert ("Retry-After" in answer.get("headers", {})) == (status in {"202", "429", "503"}), (name, status)
            authenticates = status == "401" and "/api/v1" in name
            assert ("WWW-Authenticate" in answer.get("headers", {})) == authenticates, (name, status)
        for parameter in operation.get("parameters", []):
            assert "null" not in str(parameter["schema"]), (name, parameter["name"])
            is_required = parameter["in"] == "path" or (name, parameter["name"]) in REQUIRED
            assert parameter["required"] == is_required
    for path, form in (("keys", "^key:"), ("tokens", "^token:"), ("audit", "^audit:"), ("refusals", "^refusal:")):
        parameters = {parameter["name"]: parameter for parameter in operations[f"GET /api/v1/{path}"]["parameters"]}
        assert parameters["cursor"]["schema"]["pattern"].startswith(form)
    bulk = operations["POST /api/v1/devices/bulk"]["requestBody"]["content"]["application/json"]["schema"]
    assert bulk["properties"]["action"]["type"] == "string"
    grace = bulk["properties"]["grace_seconds"]["anyOf"][0]
    assert (grace["minimum"], grace["maximum"]) == (0, MAX_GRACE_SECONDS)
    assert "next_cursor" in operations["POST /api/v1/devices/bulk"]["description"]
