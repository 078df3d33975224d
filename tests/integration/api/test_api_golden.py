"""What leaves as JSON, or for people, is the same to the byte as it was: scripts and clients rely on it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.registry import DevicePolicy, ListedSerial, Reregistration
from tests.integration.api.api_rig import serving
from tests.integration.api.conftest import WEBHOOK
from tests.support.command_here import run_here
from tests.support.ledger import the_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.api.api_rig import Api

GOLDEN = Path(__file__).parent / "golden" / "answers.txt"
HIDDEN = (
    (re.compile(r"fkt_[0-9a-f]{12}_[0-9a-f]{64}"), "<token>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<secret>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<key>"),
    (re.compile(r"\b[0-9a-f]{24}\b"), "<device>"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "<time>"),
    (re.compile(r'(?<="port":)\d+'), "<port>"),
    (re.compile(r'(?<="behind":) ?\d+'), "<number>"),
    (re.compile(r'(?<="last_error":) ?"[^"]*"'), "<error>"),
)
"""What is different each time."""
ASKED: tuple[tuple[str, str, Any], ...] = (
    ("GET", "", None),
    ("GET", "serials", None),
    ("POST", "serials", {"serials": ["SN-new", {"serial": "SN-listed", "name": "other"}]}),
    ("DELETE", "serials?serial=SN-new", None),
    ("GET", "devices?serial=SN-full", None),
    ("GET", "devices?serial=SN-pending", None),
    ("GET", "devices/{full}", None),
    ("POST", "devices/{pending}/reject", None),
    ("POST", "devices/{pending}/approve", None),
    ("POST", "devices/{pending}/disable", None),
    ("POST", "devices/{pending}/enable", None),
    ("POST", "devices/bulk", {"action": "tag", "device_ids": ["{full}"], "set_tags": {"site": "south"}}),
    ("PATCH", "devices/{full}", {"name": "Pump 3", "attributes": {"batch": None}}),
    ("PATCH", "devices/{full}/tags", {"tags": {"site": "north"}}),
    ("POST", "keys", {"name": "backend", "scope": {"tags": {"site": "north"}, "publish": ["x/#"]}, "expires": "30d"}),
    ("POST", "keys/losant", {"name": "other", "filterType": "none"}),
    ("GET", "keys?kind=application", None),
    ("POST", "devices/{full}/rotate-keys", {"grace_seconds": 3600}),
    ("GET", "keys/{key}", None),
    ("POST", "keys/{key}/revoke", None),
    ("POST", "tokens", {"name": "ci", "role": "viewer"}),
    ("GET", "tokens?limit=1", None),
    ("GET", "webhooks", None),
    ("GET", "audit?limit=3&order=oldest", None),
    ("DELETE", "devices/{full}", None),
)
TYPED = (
    "serials list --details",
    "serials add SN-typed",
    "serials remove SN-typed",
    "devices list --serial SN-pending",
    "devices show {pending}",
    "devices reject {third}",
    "devices approve {third}",
    "devices disable {third}",
    "devices disable {third} {pending}",
    "devices enable --tag nobody=has",
    "devices tag {third} a=b",
    "devices describe {third} --name x",
    "keys list",
    "keys create --application typed --all-devices --source 10.0.0.0/8",
    "keys create --from-json losant.json",
    "keys rotate {third}",
    "keys rotate {third} {pending}",
    "tokens create --name typed --role viewer --expires 2100-01-01",
    "tokens list",
    "webhooks list",
    "audit --actor cli",
    "audit export - --actor cli --format csv",
    "devices delete {third}",
)


def _hide(text: str) -> str:
    for pattern, word in HIDDEN:
        text = pattern.sub(word, text)
    return text


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Api]:
    """Run a server of this test's own: what it lists has to be known."""
    with serving(tmp_path / "server", {}, WEBHOOK) as api:
        listed = ListedSerial(serial="SN-listed", name="Pump 7", tags={"site": "north"}, attributes={"batch": "7"})
        api.store.add_serials([listed], actor="test")
        yield api


def _asked(api: Api, values: dict[str, str]) -> Iterator[str]:
    for method, path, body in ASKED:
        filled = path.format(**values)
        options = {} if body is None else {"json": _filled(body, values)}
        response = api.ask(method, filled, **options)
        kind = response.headers.get("content-type", "-")
        yield f">>> {method} {path}\n{response.status_code} {kind}\n{response.text}"


def _filled(body: Any, values: dict[str, str]) -> Any:
    if isinstance(body, str):
        return values.get(body.strip("{}"), body)
    if isinstance(body, dict):
        return {name: _filled(inner, values) for name, inner in body.items()}
    return [_filled(inner, values) for inner in body] if isinstance(body, list) else body


def _typed(
    api: Api, values: dict[str, str], patch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str]
) -> Iterator[str]:
    where = ["--config", str(api.server.folder / "fleetkey.toml"), "--data-dir", str(api.server.data_dir)]
    for words in TYPED:
        for more in ([], ["--json"]):
            if words == "webhooks list" and not more:
                # Its columns are as wide as the error is long.
                continue
            finished = run_here([*words.format(**values).split(), *where, *more], patch, output)
            for secret in re.findall(r"\b[0-9a-f]{64}\b", finished.out):
                the_ledger().note_secret(secret)
            yield f">>> fleetkey {' '.join([words, *more])}\n{finished.status}\n{finished.out}"


def test_bytes_of_answers(
    fleet: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each answer of the API, and each output of a command, is to the byte the one that is written down."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOGNAME", "somebody")
    (tmp_path / "losant.json").write_text('{"name": "x", "deviceTags": [{"key": "a", "value": "b"}]}')
    policy = DevicePolicy(reregistration=Reregistration.ADD, max_keys=3, publish=("up/{device_id}",))
    full, key = fleet.device("SN-full", tags={"site": "north"}, attributes={"batch": "7"}, profile="p", policy=policy)
    values = {"full": full, "key": key}
    values["pending"], _ = fleet.device("SN-pending", is_pending=True)
    values["third"], _ = fleet.device("SN-third", is_pending=True)
    said = [*_asked(fleet, values), *_typed(fleet, values, monkeypatch, capsys)]
    text = _hide("\n".join(said))
    assert text.splitlines() == GOLDEN.read_text().splitlines()
