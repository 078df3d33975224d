"""Every operation ends the same through the command line here, the command line from elsewhere, and HTTP."""

from __future__ import annotations

import json
import secrets
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.registry import DeviceState, KeyStatus, NotFoundError, Role
from tests.support.command_here import run_here
from tests.support.ledger import the_ledger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.api.api_rig import Api

FACES = ("local", "remote", "http")
LOSANT = {"name": "backend", "deviceTags": [{"key": "site", "value": "north"}], "filterType": "none"}


@dataclass(frozen=True, slots=True)
class Row:
    """One operation: its command, its request, and what both answer; `{…}` is filled in from the test's fleet."""

    words: str
    request: tuple[str, str, Any]
    says: dict[str, Any]
    http_says: dict[str, Any] | None = None
    """If the API answers in other words."""


ROWS = {
    "serials_add": Row(
        "serials add {new_serial}",
        ("POST", "serials", {"serials": ["{new_serial}"]}),
        {"added": 1, "known": 0, "replaced": 0},
    ),
    "serials_import": Row(
        "serials import {file}", ("POST", "serials/import", None), {"added": 2, "known": 0, "replaced": 0}
    ),
    "serials_remove": Row(
        "serials remove {serial}", ("DELETE", "serials?serial={serial}", None), {"removed": "{serial}"}, {}
    ),
    "devices_show": Row("devices show {active}", ("GET", "devices/{active}", None), {"state": "active"}),
    "devices_approve": Row(
        "devices approve {pending}", ("POST", "devices/{pending}/approve", None), {"state": "active"}
    ),
    "devices_reject": Row(
        "devices reject {pending}", ("POST", "devices/{pending}/reject", None), {"state": "rejected"}
    ),
    "devices_disable": Row(
        "devices disable {active}", ("POST", "devices/{active}/disable", None), {"state": "disabled"}
    ),
    "devices_enable": Row(
        "devices enable {disabled}", ("POST", "devices/{disabled}/enable", None), {"state": "active"}
    ),
    "devices_delete": Row("devices delete {active}", ("DELETE", "devices/{active}", None), {"deleted": "{active}"}, {}),
    "devices_tag": Row(
        "devices tag {active} a=b unique=",
        ("PATCH", "devices/{active}/tags", {"tags": {"a": "b", "unique": None}}),
        {"tags": {"a": "b", "site": "north"}},
    ),
    "devices_describe": Row(
        "devices describe {active} --name Pump a=b",
        ("PATCH", "devices/{active}", {"name": "Pump", "attributes": {"a": "b"}}),
        {"name": "Pump", "attributes": {"a": "b", "batch": "7"}},
    ),
    "devices_approve_named": Row(
        "devices approve {pending} {active}",
        ("POST", "devices/bulk", {"action": "approve", "device_ids": ["{pending}", "{active}"]}),
        {"approved": 1, "unchanged": 1},
        {"changed": 1, "unchanged": 1},
    ),
    "devices_approve_matching": Row(
        "devices approve --tag unique={unique}",
        ("POST", "devices/bulk", {"action": "approve", "tags": {"unique": "{unique}"}}),
        {"approved": 1, "unchanged": 0},
        {"changed": 1, "unchanged": 0},
    ),
    "devices_reject_matching": Row(
        "devices reject --serial-pattern SN-[a-z]+-{unique}-pending",
        ("POST", "devices/bulk", {"action": "reject", "serial_pattern": "SN-[a-z]+-{unique}-pending"}),
        {"rejected": 1, "unchanged": 0},
        {"changed": 1, "unchanged": 0},
    ),
    "devices_disable_matching": Row(
        "devices disable --tag unique={unique}",
        ("POST", "devices/bulk", {"action": "disable", "tags": {"unique": "{unique}"}}),
        {"disabled": 2, "unchanged": 1},
        {"changed": 2, "unchanged": 1},
    ),
    "devices_enable_matching": Row(
        "devices enable --tag unique={unique}",
        ("POST", "devices/bulk", {"action": "enable", "tags": {"unique": "{unique}"}}),
        {"enabled": 1, "unchanged": 0},
        {"changed": 1, "unchanged": 0},
    ),
    "devices_tag_named": Row(
        "devices tag {active} {pending} a=b site=north",
        (
            "POST",
            "devices/bulk",
            {"action": "tag", "device_ids": ["{active}", "{pending}"], "set_tags": {"a": "b", "site": "north"}},
        ),
        {"tagged": 2, "unchanged": 0},
        {"changed": 2, "unchanged": 0},
    ),
    "devices_tag_matching": Row(
        "devices tag unique= --tag unique={unique} --attribute batch=7 --serial-pattern SN-[ab]-.*",
        (
            "POST",
            "devices/bulk",
            {
                "action": "tag",
                "tags": {"unique": "{unique}"},
                "attributes": {"batch": "7"},
                "serial_pattern": "SN-[ab]-.*",
                "set_tags": {"unique": None},
            },
        ),
        {"tagged": 2, "unchanged": 0},
        {"changed": 2, "unchanged": 0},
    ),
    "keys_rotate_matching": Row(
        "keys rotate --tag unique={unique} --grace-seconds 60",
        ("POST", "devices/bulk", {"action": "rotate", "tags": {"unique": "{unique}"}, "grace_seconds": 60}),
        {"rotated": 2, "unchanged": 1},
        {"changed": 2, "unchanged": 1},
    ),
    "devices_delete_matching": Row(
        "devices delete --serial-pattern SN-[a-z]+-{unique}-.* --yes",
        ("POST", "devices/bulk", {"action": "delete", "serial_pattern": "SN-[a-z]+-{unique}-.*"}),
        {"deleted": 3, "unchanged": 0},
        {"changed": 3, "unchanged": 0},
    ),
    "keys_create": Row(
        "keys create --application backend --tag site=north --source 10.0.0.0/8",
        ("POST", "keys", {"name": "backend", "scope": {"tags": {"site": "north"}}, "sources": ["10.0.0.0/8"]}),
        {"kind": "application", "name": "backend", "sources": ["10.0.0.0/8"], "expires_at": None},
    ),
    "keys_create_losant": Row(
        "keys create --from-json {losant}", ("POST", "keys/losant", LOSANT), {**LOSANT, "status": "active"}
    ),
    "keys_show": Row("keys show {key}", ("GET", "keys/{key}", None), {"key": "{key}", "kind": "device"}),
    "keys_revoke": Row("keys revoke {key}", ("POST", "keys/{key}/revoke", None), {"retired_reason": "revoked"}),
    "keys_rotate": Row(
        "keys rotate {active} --grace-seconds 60",
        ("POST", "devices/{active}/rotate-keys", {"grace_seconds": 60}),
        {"device_id": "{active}", "keys": 1, "grace_seconds": 60},
    ),
    "explain_topic_show": Row(
        "explain --device {active} --publish devices/{active}/state",
        ("GET", "explain/topic?action=publish&topic=devices/{active}/state&device_id={active}", None),
        {"allowed": True, "pattern": "devices/{active}/#", "refused": None},
    ),
    "explain_show": Row(
        "explain {active}", ("GET", "explain?what={active}", None), {"what": "{active}", "is_known": True}
    ),
    "tokens_create": Row(
        "tokens create --name ci --role viewer --expires 2100-01-01",
        ("POST", "tokens", {"name": "ci", "role": "viewer", "expires": "2100-01-01"}),
        {"name": "ci", "role": "viewer", "expires_at": "2100-01-01T00:00:00.000Z", "revoked_at": None},
    ),
}
SAME = (
    "serials list",
    "serials list --details",
    "devices list",
    "devices list --state pending --tag site=north",
    "devices list --attribute batch=7 --serial-pattern SN-.*-active",
    "devices list --serial nowhere",
    "devices list --sort created --limit 2",
    "devices list --sort serial --serial-pattern SN-[ab]-.*",
    "devices list --limit 3",
    "devices list --count --tag site=north",
    "serials list --unused --serial-pattern SN-listed-.*",
    "serials list --used",
    "devices disable {active} {pending} {disabled} --dry-run",
    "devices approve --tag site=north --dry-run",
    "keys rotate --serial-pattern SN-[ab]-.* --dry-run",
    "keys list --all",
    "keys list --applications",
    "audit --limit 500",
    "audit export -",
    "audit export - --format csv --actor cli --until 2100-01-01",
    "devices list --online",
    "devices list --offline --tag site=north",
    "audit --action register --outcome ok",
    "audit --since 2000-01-01 --until 2100-01-01T00:00:00.001 --actor api",
    "audit --address 127.0.0.1 --since 1h",
    "tokens list --all",
    "explain",
    "explain {active}",
    "explain {key} --limit 2",
    "explain --key {key} --subscribe #",
)
WRONG = {
    "serials import {wrong}": 1,
    "serials add {long}": 2,
    "serials add SN-ok {long}": 2,
    "serials remove nowhere": 1,
    "devices show 000000000000000000000000": 1,
    "devices show a/b": 1,
    "devices show ''": 1,
    "devices show ..": 1,
    "devices disable {active}?x=y": 1,
    "keys show %2e": 1,
    "keys create --application x --all-devices --source 10.1.2.3/16": 2,
    "audit --outcome nope": 2,
    "audit --action nosuch": 2,
    "audit --address here": 2,
    "devices list --state asleep": 2,
    "devices reject {active}": 1,
    "devices reject {active} {disabled}": 1,
    "devices approve --tag a=b {active}": 2,
    "devices tag {active} nowhere a=b": 1,
    "devices delete {active} nowhere --yes": 1,
    "keys rotate {active} nowhere": 1,
    "devices list --serial-pattern (": 2,
    "audit --since 2026-01-02 --until 2026-01-01": 2,
    "audit --since yesterday": 2,
    "keys create --application x --all-devices --tag a=b": 2,
    "keys create --application x --publish $SYS/x": 2,
    "keys revoke 00000000000000000000000000000000": 1,
    "keys show 00000000000000000000000000000000": 1,
    "keys rotate 000000000000000000000000": 1,
    "tokens revoke 000000000000": 1,
    "explain nowhere": 1,
    "explain --device 000000000000000000000000 --publish x": 1,
    "explain --key 00000000000000000000000000000000 --will x": 1,
    "explain --device {active}": 2,
    "explain --publish x": 2,
    "explain --device {active} --key {key} --publish x": 2,
    "explain --device {active} --publish x --will x": 2,
    "explain {active} --device {active} --publish x": 2,
    "explain --follow --device {active} --publish x": 2,
    "webhooks test backend": 1,
    "webhooks test other": 1,
}
"""Commands that can't be done, and their exit status."""


class Faces:
    """Does one thing through whichever face a test is about."""

    def __init__(
        self, api: Api, folder: Path, patch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str], unique: str
    ) -> None:
        self.api, self._patch, self._output = api, patch, output
        self.file, losant, token = folder / "serials.txt", folder / "key.json", folder / "admin.token"
        wrong = folder / "wrong.csv"
        wrong.write_text(f"serial,name\nSN-{unique},a\n x,\nSN-{unique},b\n")
        self.file.write_text(f"SN-file-{unique}-1\nSN-file-{unique}-2\n")
        losant.write_text(json.dumps(LOSANT))
        token.write_text(api.tokens[Role.ADMIN] + "\n")
        self.options = {
            "local": ["--config", str(api.server.folder / "fleetkey.toml"), "--data-dir", str(api.server.data_dir)],
            "remote": ["--url", api.server.url, "--token-file", str(token)],
        }
        labels: dict[str, Any] = {"tags": {"site": "north", "unique": unique}, "attributes": {"batch": "7"}}
        serial, active = f"SN-listed-{unique}", f"SN-a-{unique}-active"
        api.store.add_serials([serial], actor="test")
        device_id, key = api.device(active, **labels)
        disabled, _ = api.device(f"SN-b-{unique}-disabled", **labels)
        api.store.set_device_state(disabled, DeviceState.DISABLED, actor="test")
        self.values = {
            "unique": unique,
            "serial": serial,
            "new_serial": f"SN-new-{unique}",
            "active": device_id,
            "key": key,
            "disabled": disabled,
            "pending": api.device(f"SN-c-{unique}-pending", is_pending=True, **labels)[0],
            "file": str(self.file),
            "losant": str(losant),
            "long": "x" * 129,
            "wrong": str(wrong),
        }

    def fill(self, value: Any) -> Any:
        """Fill in what this test's fleet has."""
        if isinstance(value, str):
            for name, text in self.values.items():
                value = value.replace(f"{{{name}}}", text)
            return value
        if isinstance(value, dict):
            return {self.fill(name): self.fill(inner) for name, inner in value.items()}
        return [self.fill(inner) for inner in value] if isinstance(value, list) else value

    def run(self, face: str, words: str, *more: str) -> tuple[int, str, str]:
        """Run a command and return its exit status and what it printed."""
        finished = run_here([*shlex.split(self.fill(words)), *self.options[face], *more], self._patch, self._output)
        return finished.status, finished.out, finished.err

    def do(self, face: str, row: Row) -> dict[str, Any]:
        """Do a row's operation and return what it says."""
        if face == "http":
            method, path, body = self.fill(list(row.request))
            options: dict[str, Any] = {"json": body} if body is not None else {}
            if path == "serials/import":
                options = {"content": self.file.read_bytes(), "headers": {"Content-Type": "text/plain"}}
            response = self.api.ask(method, path, **options)
            assert response.is_success, response.text
            said: dict[str, Any] = response.json() if response.content else {}
        else:
            status, out, error = self.run(face, row.words, "--json")
            assert status == 0, error
            said = json.loads(out)
        for secret in ("secret", "token"):
            if secret in said:
                the_ledger().note_secret(said[secret][-64:])
        return said


@pytest.fixture
def faces(
    api: Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Faces:
    """Give a test some devices of its own on the module's server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return Faces(api, tmp_path, monkeypatch, capsys, secrets.token_hex(4))


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", ROWS)
def test_operation(faces: Faces, name: str, face: str) -> None:
    """The operation is done, and answers the same."""
    row = ROWS[name]
    said = faces.do(face, row)
    wanted = row.http_says if face == "http" and row.http_says is not None else row.says
    wanted = faces.fill(wanted)
    assert {field: said.get(field) for field in wanted} == wanted
    newest = faces.api.store.last_audit(1)[0]
    if not name.endswith("_show"):
        assert newest.actor.startswith("cli" if face == "local" else "api:test-admin:")
        assert newest.address == ("" if face == "local" else "127.0.0.1")


@pytest.mark.parametrize("words", SAME)
def test_same_output(faces: Faces, words: str) -> None:
    """A list looks the same wherever the command runs, for people and for scripts."""
    for more in ((), ("--json",)):
        here, there = (faces.run(face, words, *more) for face in ("local", "remote"))
        assert here == there
        assert here[0] == 0


@pytest.mark.parametrize("words", WRONG)
def test_same_error(faces: Faces, words: str) -> None:
    """What can't be is refused in the same words, and changes nothing."""
    here, there = (faces.run(face, words) for face in ("local", "remote"))
    assert here == there
    assert here[0] == WRONG[words]
    assert here[2].startswith("fleetkey: ")
    assert "Value error" not in here[2]


def test_lists_over_http(faces: Faces) -> None:
    """A list over HTTP, page by page, is the list that a command prints."""
    for words, path, query in (
        ("devices list --tag site=north", "devices", {"tag": "site=north"}),
        ("devices list --state pending", "devices", {"state": "pending"}),
        ("keys list --all", "keys", {"include_retired": "true"}),
        ("serials list --details", "serials", {}),
        ("tokens list", "tokens", {}),
    ):
        printed = json.loads(faces.run("local", words, "--json")[1])
        assert faces.api.items(path, **query, limit="3") == printed
        assert printed
    newest_first = faces.api.json("GET", "audit", params={"limit": "50"})["items"]
    assert newest_first[::-1] == json.loads(faces.run("local", "audit --limit 50", "--json")[1])


def test_saved_key_of_another_machine(faces: Faces, tmp_path: Path) -> None:
    """`keys create --save` writes where the server's broker is; a file that exists, or can't be, makes no key."""
    words = "keys create --application saved --all-devices --save backend.json"
    assert faces.run("remote", words)[0] == 0
    saved = json.loads((tmp_path / "backend.json").read_text())
    the_ledger().note_secret(saved["secret"])
    assert saved["mqtt"] == {"host": "127.0.0.1", "port": faces.api.server.mqtt_port, "tls": False}
    assert faces.api.store.get_key(saved["key"]).status is KeyStatus.ACTIVE
    newest = faces.api.store.audit_bounds()
    for face in ("local", "remote"):
        for command in (words, "tokens create --name ci --role viewer --save backend.json"):
            assert faces.run(face, command)[2] == "fleetkey: backend.json already exists and was left unchanged\n"
            status, _, error = faces.run(face, command.replace("backend.json", "nowhere/at/all"))
            assert (status, error) == (1, "fleetkey: can't write nowhere/at/all: No such file or directory\n")
    assert faces.api.store.audit_bounds() == newest
    assert json.loads((tmp_path / "backend.json").read_text()) == saved


def test_saved_key_refused(faces: Faces, tmp_path: Path) -> None:
    """What can't be made leaves no file."""
    for face in ("local", "remote"):
        words = "keys create --application x --device 000000000000000000000000 --save x.json"
        assert faces.run(face, words)[0] == 1
        assert not (tmp_path / "x.json").exists()


def test_deleted_over_http(faces: Faces) -> None:
    """What one face deleted is gone for the others."""
    faces.api.ask("DELETE", f"devices/{faces.values['active']}")
    with pytest.raises(NotFoundError):
        faces.api.store.get_device(faces.values["active"])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("devices list --url http://fleet.example.com --token-file admin.token", 2, "in plain text"),
        ("devices list --url ftp://fleet.example.com --token-file admin.token", 2, "not the address"),
        ("devices list --url https://user:x@fleet.example.com --token-file admin.token", 2, "not the address"),
        ("devices list --url http://127.0.0.1:1 --token-file admin.token", 1, "can't reach"),
        ("devices list --url http://127.0.0.1:1", 2, "FLEETKEY_TOKEN"),
        ("devices list --url http://127.0.0.1:1 --token-file nowhere", 1, "can't read"),
        ("devices list --url http://127.0.0.1:1 --token-file serials.txt", 1, "does not contain a token"),
        ("devices list --token-file admin.token", 2, "needs --url"),
        ("devices list --url http://127.0.0.1:1 --token-file admin.token --data-dir data", 2, "leave out"),
    ],
)
def test_unusable_url(faces: Faces, words: str, status: int, said: str) -> None:
    """What keeps a command from asking another machine is said in one sentence, without the token."""
    faces.options["none"] = []
    ended, out, error = faces.run("none", words)
    assert (ended, out) == (status, "")
    assert said in error


def test_token_from_the_environment(faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    """`FLEETKEY_TOKEN` is the token, and no setting."""
    monkeypatch.setenv("FLEETKEY_TOKEN", faces.api.tokens[Role.VIEWER])
    faces.options["none"] = ["--url", faces.api.server.url]
    assert faces.run("none", "devices list", "--json")[0] == 0
    assert faces.run("local", "devices list", "--json")[0] == 0
    faces.options["whole"] = ["--url", f"{faces.api.server.url}/api/v1/"]
    assert faces.run("whole", "devices list", "--json") == faces.run("none", "devices list", "--json")
    status, _, error = faces.run("none", "devices disable {active}")
    assert (status, error) == (1, "fleetkey: this requires the role operator; the token has the role viewer\n")


def test_refused_token(faces: Faces, tmp_path: Path) -> None:
    """A token that isn't good is said to be so."""
    (tmp_path / "bad.token").write_text("fkt_000000000000_" + "0" * 64)
    faces.options["bad"] = ["--url", faces.api.server.url, "--token-file", "bad.token"]
    status, _, error = faces.run("bad", "devices list")
    assert status == 1
    assert "refused the token" in error
