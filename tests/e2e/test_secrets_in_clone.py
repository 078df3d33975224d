"""Secrets in a clone: where the README's, the tutorial's and `make run`'s commands leave them, and what is packed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import REPOSITORY, clean_environment
from tests.support.ledger import the_ledger
from tests.support.server import NO_LIMITS, serve_command
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent
FOLDERS = ("credentials", "fleetkey-data")
"""Where secrets may be."""
SECRET = re.compile(rb"\b[0-9a-f]{64}\b")
PAGES = (REPOSITORY / "README.md", REPOSITORY / "docs/tutorial/first-fleet.md")
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)$", re.MULTILINE)
ENDLESS = re.compile(r"--serial|--subscribe")
MAKES_SECRETS = re.compile(r"/register|--save|--serial ")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Make a fresh clone, with the files as they are now."""
    git = shutil.which("git")
    if git is None or not (REPOSITORY / ".git").exists():
        pytest.skip("needs git, and a clone")
    listed = _run([git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], REPOSITORY)
    folder = tmp_path / "clone"
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    _run([git, "init", "--quiet"], folder)
    _run([git, "add", "--all"], folder)
    return folder


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    ended = subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, f"{command}: {ended.stderr}"
    return ended.stdout


def _paste(command: str, folder: Path, mqtt_port: str) -> None:
    """Run a command as a person does who has the usual umask, with the installation on the path."""
    # In the settings there is no port that the system picked.
    environment = {"FLEETKEY_MQTT__ADVERTISE_PORT": mqtt_port}
    _run(["/bin/sh", "-c", f'umask 022; PATH="{BIN}:$PATH"; {command}'], folder, environment)


@contextmanager
def _serving(clone: Path, beside: Path) -> Iterator[str]:
    """Serve as `make run` does, on free ports, and give what it printed."""
    out, log = beside / "out.txt", beside / "log.txt"
    for path in (out, log):
        the_ledger().watch_file(path)
    the_ledger().watch_database(clone / "fleetkey-data/fleetkey.db")
    with out.open("wb") as output, log.open("wb") as errors:
        server = subprocess.Popen(
            serve_command(Path("fleetkey-data"), "--sample"),
            stdout=output,
            stderr=errors,
            cwd=clone,
            env=clean_environment(NO_LIMITS),
            umask=0o022,
        )
    try:
        assert eventually(lambda: "Ctrl-C stops" in out.read_text() or server.poll() is not None, 30)
        yield out.read_text()
    finally:
        server.terminate()
        assert server.wait(15) == 0, log.read_text()


def _commands(page: Path) -> list[str]:
    return [command for block in CONSOLE.findall(page.read_text()) for command in COMMAND.findall(block)]


def _in_time(command: str) -> str:
    """Return a command that would go on until it is stopped, or fails on purpose, so that it ends well by itself."""
    if "--serial " in command:
        return f"{command} --once"
    if "--subscribe" in command:
        return f"{command} --timeout 0.5 || true"
    # Somebody else's topic: it says that it was refused.
    return f"{command} || true" if command.endswith(" hello") else command


def _secrets(clone: Path) -> list[bytes]:
    """Return the secrets that were handed out."""
    secrets = []
    for path in [*(clone / "credentials").iterdir(), clone / "fleetkey-data/sample-application.json"]:
        secret = json.loads(path.read_text())["secret"]
        the_ledger().note_secret(secret)
        secrets.append(secret.encode())
    return secrets


def _packed(clone: Path, beside: Path) -> dict[str, bytes]:
    """Build both packages and return what is in them, by name without the version's folder."""
    _run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(beside / "dist")], clone)
    (sdist,), (wheel,) = (beside / "dist").glob("*.tar.gz"), (beside / "dist").glob("*.whl")
    packed = {}
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            if file is not None:
                packed["sdist:" + member.name.partition("/")[2]] = file.read()
    with zipfile.ZipFile(wheel) as zipped:
        packed |= {f"wheel:{name}": zipped.read(name) for name in zipped.namelist()}
    return packed


def test_after_the_readme_and_the_tutorial(clone: Path, tmp_path: Path) -> None:
    """Every secret is in a folder of its owner's that git ignores, in a file of its owner's, and in no package."""
    with _serving(clone, tmp_path) as printed:
        http, mqtt = re.findall(r"127\.0\.0\.1:\d+", printed)[:2]
        registers = printed.split("\n\n")[2]
        assert "/register" in registers
        mqtt_port = mqtt.rpartition(":")[2]
        _paste(registers, clone, mqtt_port)
        for page in PAGES:
            commands = [
                _in_time(command).replace("127.0.0.1:8080", http).replace("127.0.0.1:1883", mqtt)
                for command in _commands(page)
                if not command.startswith(("make ", "export ", "git "))
            ]
            assert any(MAKES_SECRETS.search(command) for command in commands)
            # The README's ids are cut short; and it imports a file of the reader's.
            script = "\n".join(command for command in commands if "…" not in command and "serials.txt" not in command)
            _paste("set -e\n" + script.replace(".venv/bin/", ""), clone, mqtt_port)
            if page.name == "README.md":
                # The tutorial uses the same names, and a file that exists is left as it is.
                for made in ("one", "backend"):
                    (clone / f"credentials/{made}.json").rename(clone / f"credentials/readme-{made}.json")
    secrets = _secrets(clone)
    assert len(set(secrets)) == len(secrets) >= 7

    for folder in FOLDERS:
        assert (clone / folder).stat().st_mode & 0o777 == 0o700
        for path in (clone / folder).rglob("*"):
            assert path.stat().st_mode & 0o077 == 0, path
    for path in clone.rglob("*"):
        if path.is_file() and path.relative_to(clone).parts[0] not in FOLDERS:
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret in content], path

    status = _run(["git", "status", "--porcelain", "--untracked-files=all"], clone).splitlines()
    assert [line for line in status if not line.startswith("A  ")] == []
    for name, content in _packed(clone, tmp_path).items():
        assert not [secret for secret in secrets if secret in content], name


STRAYS = ("one.json", "token", "docs/one.json", "fleetkey/one.json", "tests/one.json", "examples/one.json", "x.tar")


def test_packages_have_what_belongs_to_them(clone: Path, tmp_path: Path) -> None:
    """All of the repository's files, and nothing else that lies about in a clone, wherever it does."""
    listed = set(_run(["git", "ls-files"], clone).split())
    for name in STRAYS:
        (clone / name).write_text("5" * 64)
    packed = set(_packed(clone, tmp_path))
    sdist = {name.removeprefix("sdist:") for name in packed if name.startswith("sdist:")}
    assert sdist == listed - {".ci/run"} | {"PKG-INFO"}
    wheel = {name.removeprefix("wheel:") for name in packed if name.startswith("wheel:")}
    assert {name for name in wheel if ".dist-info/" not in name} == {n for n in listed if n.startswith("fleetkey/")}


@pytest.mark.parametrize("page", sorted((REPOSITORY / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_commands_name_the_folder(page: Path) -> None:
    """Where a page's command saves credentials in the current folder, it is into the one that nothing looks into."""
    for command in _commands(page):
        for file in re.findall(r"(?:--save|--credentials|--token-file) ([^\s)]+)", command):
            assert file.startswith(("credentials/", "/")), command
        assert "| tee" not in command
        if "/register " in command and "-o " in command:
            assert command.startswith("(umask 077; mkdir -p credentials; ")
