"""The credentials files in the documentation are those that the code writes and reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.access import Secret
from fleetkey.cli.credentials_file import application_credentials, write_credentials
from fleetkey.config import MqttEndpoint
from fleetkey.device import Credentials
from tests.unit.docs.docs_pages import DOCS, blocks, section

if TYPE_CHECKING:
    from pathlib import Path

PAGE = DOCS / "reference/credentials-file.md"
SHOWN = [json.loads(block.text) for block in blocks(PAGE) if block.language == "json"]


def _application_file(folder: Path) -> Path:
    path = folder / "backend.json"
    endpoint = MqttEndpoint(host="127.0.0.1", port=1883, is_tls=False)
    write_credentials(path, application_credentials("4986ba969c2a771d520c0a30137673db", Secret("5" * 64), endpoint))
    return path


@pytest.mark.parametrize("shown", SHOWN, ids=["device", "application"])
def test_shown_file(shown: dict[str, Any], tmp_path: Path) -> None:
    """Each file that the page shows can be read, once the secret is in it."""
    path = tmp_path / "device.json"
    path.write_text(json.dumps({**shown, "secret": "5" * 64}))
    assert Credentials.load(path).key == shown["key"]


def test_saved_application_file(tmp_path: Path) -> None:
    """What `fleetkey keys create --save` writes, `python -m fleetkey.device --credentials` reads."""
    assert Credentials.load(_application_file(tmp_path)).mqtt.port


def test_fields_of_a_saved_application_file(tmp_path: Path) -> None:
    """The page shows the fields that `fleetkey keys create --save` writes."""
    written = json.loads(_application_file(tmp_path).read_text())
    assert written.keys() == SHOWN[1].keys()
    assert written["mqtt"].keys() == SHOWN[1]["mqtt"].keys()


def test_saved_device_file(tmp_path: Path) -> None:
    """The page shows the fields that a device saves, in their order, and has a row for each."""
    source = tmp_path / "answer.json"
    source.write_text(json.dumps({**SHOWN[0], "secret": "5" * 64}))
    path = tmp_path / "device.json"
    Credentials.load(source).save(path)
    saved = json.loads(path.read_text())
    assert list(saved) == list(SHOWN[0])
    assert list(saved["mqtt"]) == list(SHOWN[0]["mqtt"])
    text = section(PAGE, "A device's")
    for name in [*saved, *(f"mqtt.{name}" for name in saved["mqtt"])]:
        assert name == "mqtt" or f"`{name}`" in text
