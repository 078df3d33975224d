"""The credentials file: owner only, whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest

from fleetkey.device import Credentials, CredentialsFileError, credentials_file
from fleetkey.device.saved_credentials import load_saved_credentials

SECRETS = ("11" * 32, "22" * 32)
DEVICE_ID = "0" * 24


def document(secret: str = SECRETS[0], **more: object) -> dict[str, object]:
    """Return what a file holds."""
    mqtt = {"host": "h", "port": 1, "tls": False, "clientId": DEVICE_ID, "publish": ["a/#"], "subscribe": ["a/#"]}
    return {"deviceId": DEVICE_ID, "key": "a" * 32, "secret": secret, "mqtt": mqtt} | more


def parsed(secret: str = SECRETS[0], **more: object) -> Credentials:
    """Return the same as credentials."""
    return Credentials.parse(json.dumps(document(secret, **more)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file."""
    return tmp_path / "device.json"


def test_save_and_load(path: Path) -> None:
    """What was saved is loaded; the file is the registration answer as it was, and the serial."""
    parsed(serial="SN-ü").save(path)
    assert Credentials.load(path) == parsed(serial="SN-ü")
    assert json.loads(path.read_bytes()) == document(serial="SN-ü")


def test_save_mode(path: Path) -> None:
    """The file is its owner's alone, whatever the umask, and whatever mode it had before."""
    path.write_text("old")
    path.chmod(0o666)
    old_umask = os.umask(0)
    try:
        parsed().save(path)
    finally:
        os.umask(old_umask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["device.json"]


def test_save_draft_mode(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The draft has the secret in it as well and is its owner's alone from the start."""
    modes: list[int] = []

    def look(draft: Path, target: Path) -> Path:
        modes.append(draft.stat().st_mode & 0o777)
        return draft.rename(target)

    monkeypatch.setattr(Path, "replace", look)
    parsed().save(path)
    assert modes == [0o600]


@pytest.mark.parametrize("broken", ["fsync", "open", "replace"])
def test_save_fails(path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """When writing fails anywhere, the old file is still there, no draft is, and the error has no secret in it."""
    parsed(SECRETS[0]).save(path)

    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((Path, "replace", fail) if broken == "replace" else (os, broken, fail)))
    with pytest.raises(CredentialsFileError, match="can't be written") as caught:
        parsed(SECRETS[1]).save(path)
    monkeypatch.undo()
    assert SECRETS[1] not in str(caught.value)
    assert Credentials.load(path) == parsed(SECRETS[0])
    assert [entry.name for entry in path.parent.iterdir()] == ["device.json"]


def test_save_forgets_old_drafts(path: Path) -> None:
    """What a killed process left behind goes away with the next save."""
    draft = path.with_name(".device.json.0123456789abcdef.draft")
    draft.write_text("half a secret")
    parsed().save(path)
    assert not draft.exists()


KILLED = """
import pathlib, sys
from fleetkey.device import Credentials
texts = [pathlib.Path(name).read_bytes() for name in sys.argv[2:]]
pair = [Credentials.parse(text) for text in texts]
print("ready", flush=True)
while True:
    for credentials in pair:
        credentials.save(pathlib.Path(sys.argv[1]))
"""


def test_save_killed(path: Path, tmp_path: Path) -> None:
    """A process killed in the middle of saving leaves the old file or the new one, never anything else."""
    sources = [tmp_path / "one", tmp_path / "two"]
    for source, secret in zip(sources, SECRETS, strict=True):
        source.write_text(json.dumps(document(secret)))
    parsed().save(path)
    for delay_seconds in (0.0, 0.003, 0.007, 0.011):
        command = [sys.executable, "-c", KILLED, str(path), *map(str, sources)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(delay_seconds)
            process.send_signal(signal.SIGKILL)
        assert Credentials.load(path).secret.reveal() in SECRETS


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (None, "missing"),
        (b"", "corrupt"),
        (b'{"deviceId": "00', "corrupt"),
        (b"{}", "unusable"),
        (b"x" * 70_000, "unusable"),
    ],
)
def test_load_kinds(path: Path, content: bytes | None, kind: str) -> None:
    """Each way to be no credentials file has its kind."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CredentialsFileError) as caught:
        Credentials.load(path)
    assert (caught.value.kind, caught.value.path) == (kind, path)


def test_load_folder(tmp_path: Path) -> None:
    """A folder is not a file."""
    with pytest.raises(CredentialsFileError, match="can't be read") as caught:
        Credentials.load(tmp_path)
    assert caught.value.kind == "unusable"


def test_load_saved_own(path: Path) -> None:
    """A device loads its own file, and a provisioned one that names no serial."""
    for own in (parsed(serial="S1"), parsed()):
        own.save(path)
        assert load_saved_credentials(path, "S1") == own


def test_load_saved_missing(path: Path) -> None:
    """Without a file there are no saved credentials."""
    assert load_saved_credentials(path, "S1") is None


@pytest.mark.parametrize("torn", [0, 1, 40, 200])
def test_load_saved_corrupt(path: Path, torn: int, caplog: pytest.LogCaptureFixture) -> None:
    """A torn file counts as missing, is set aside, and is logged without its content."""
    parsed(serial="S1").save(path)
    content = path.read_bytes()[:torn]
    path.write_bytes(content)
    assert load_saved_credentials(path, "S1") is None
    assert not path.exists()
    assert path.with_name("device.json.corrupt").read_bytes() == content
    assert "device.credentials_corrupt" in caplog.text
    assert SECRETS[0][:16] not in caplog.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (document(serial="S2"), "belongs to serial S2, but this device's serial is S1"),
        ({"name": "something else"}, "not credentials"),
        ({name: value for name, value in document().items() if name != "deviceId"}, "application key"),
    ],
)
def test_load_saved_not_ours(path: Path, content: dict[str, object], words: str) -> None:
    """A valid file that isn't this device's is an error, and isn't changed."""
    path.write_text(json.dumps(content))
    before = path.read_bytes()
    with pytest.raises(CredentialsFileError, match=words) as caught:
        load_saved_credentials(path, "S1")
    assert caught.value.kind == "unusable"
    assert SECRETS[0] not in str(caught.value)
    assert path.read_bytes() == before


def test_load_saved_no_folder(tmp_path: Path) -> None:
    """A missing folder is an error before registering, not after."""
    with pytest.raises(CredentialsFileError, match="directory does not exist"):
        load_saved_credentials(tmp_path / "none" / "device.json", "S1")


def test_set_aside_fails(tmp_path: Path) -> None:
    """A file that can't be renamed is an error."""
    with pytest.raises(CredentialsFileError, match="set aside"):
        credentials_file.set_aside(tmp_path / "none")
