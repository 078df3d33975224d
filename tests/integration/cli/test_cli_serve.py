"""`fleetkey serve` and `fleetkey demo` as processes: ready, refused, done."""

from __future__ import annotations

import json
import re
import socket
import time
from typing import TYPE_CHECKING

import pytest

from fleetkey.cli.errors import CommandError
from fleetkey.cli.serve.embedded_server import EmbeddedServer
from fleetkey.config import load_settings
from fleetkey.operations import make_self_signed, write_pair
from tests.support.command_line import REPOSITORY, cli
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANY = "127.0.0.1:0"
DEMO_STEPS = 10


@pytest.fixture
def taken() -> Iterator[str]:
    """Take a port, and give its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("flag", ["--http", "--mqtt"])
@pytest.mark.parametrize("as_json", [False, True], ids=["for_people", "for_scripts"])
def test_serve_port_in_use(tmp_path: Path, taken: str, flag: str, *, as_json: bool) -> None:
    """One sentence names the address and the flag; nothing says that the server is ready."""
    addresses = {"--http": ANY, "--mqtt": ANY, flag: taken}
    words = [word for pair in addresses.items() for word in pair]
    ended = cli("serve", *words, *(["--json"] if as_json else []), data_dir=tmp_path / "data", folder=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    said = json.loads(ended.error)["error"] if as_json else ended.error
    assert taken in said
    assert f"{flag} HOST:PORT" in said


@pytest.mark.parametrize("flag", ["--http", "--mqtt"])
def test_make_run_port_in_use(tmp_path: Path, taken: str, flag: str) -> None:
    """Whoever typed `make run` is told how to choose another port with make."""
    makefile = (REPOSITORY / "Makefile").read_text()
    variables = dict(re.findall(r"(\w+)=(\S+) exec \$\(BIN\)/fleetkey serve", makefile))
    assert variables
    words = [word for pair in {"--http": ANY, "--mqtt": ANY, flag: taken}.items() for word in pair]
    ended = cli("serve", *words, data_dir=tmp_path / "data", folder=tmp_path, environment=variables)
    host, _, port = taken.rpartition(":")
    assert ended.error.endswith(f'choose another with make run ARGS="{flag} {host}:{int(port) + 1}"')


@pytest.mark.parametrize("setting", ["tls_bind", "ws_bind"])
def test_serve_another_listener_in_use(tmp_path: Path, taken: str, setting: str) -> None:
    """The address and the setting of the listener that failed are named, and no other."""
    pair = write_pair(tmp_path, *make_self_signed(["localhost"], days=1), overwrite=False)
    file = tmp_path / "fleetkey.toml"
    tls = f"tls_cert = '{pair[0]}'\ntls_key = '{pair[1]}'\n"
    file.write_text(f"[http]\nbind = '{ANY}'\n[mqtt]\nbind = '{ANY}'\n{setting} = '{taken}'\n{tls}")
    with (
        pytest.raises(CommandError) as caught,
        EmbeddedServer(load_settings(file, {"data_dir": tmp_path / "data"})),
    ):
        pass
    said = str(caught.value)
    assert f"on {taken}: the address is in use" in said
    assert f"mqtt.{setting}" in said
    assert ANY not in said
    assert "--mqtt" not in said


@pytest.mark.parametrize("as_json", [False, True], ids=["for_people", "for_scripts"])
def test_serve_bad_certificate(tmp_path: Path, *, as_json: bool) -> None:
    """A certificate that can't be read is one sentence with the settings' names."""
    (tmp_path / "fleetkey.toml").write_text("[mqtt]\ntls_bind = '127.0.0.1:0'\ntls_cert = 'no.pem'\ntls_key = 'no.pem'")
    words = ["--http", ANY, "--mqtt", ANY, *(["--json"] if as_json else [])]
    ended = cli("serve", *words, data_dir=tmp_path / "data", folder=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert "tls_cert" in ended.error


def test_serve_ready_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--json`, the first line on standard output has every address, the process id and the data folder."""
    with ServerProcess(tmp_path) as server:
        line = json.loads((tmp_path / "out-1.txt").read_text())
        assert line["pid"] == server.process.pid
        assert line["data_dir"] == str(server.data_dir)
        assert (line["mqtt_tls"], line["ws"]) == (None, None)
        assert server.mqtt_port != 0
        assert server.database.stat().st_mode & 0o777 == 0o600
        assert server.data_dir.stat().st_mode & 0o777 == 0o700
        monkeypatch.setattr("fleetkey.operations.serve_lock.TAKE_SECONDS", 0.0)
        _assert_is_alone(server)


def _assert_is_alone(server: ServerProcess) -> None:
    """A second server on the same registry is refused whatever its data folder is, and says which process has it."""
    for data_dir, url in ((server.data_dir, ""), (server.folder / "other", f"sqlite:///{server.database}")):
        flags = {"data_dir": data_dir, "store.url": url, "http.bind": ANY, "mqtt.bind": ANY}
        with pytest.raises(CommandError) as caught, EmbeddedServer(load_settings(flags=flags)):
            pass
        holder = f"another process (pid {server.process.pid})"
        assert str(caught.value) == f"{server.database} is served by {holder}; stop it first"


@pytest.mark.parametrize("as_json", [False, True], ids=["for_people", "for_scripts"])
def test_demo(tmp_path: Path, *, as_json: bool) -> None:
    """The whole story goes as promised in under 15 s, whatever this installation's settings are, and leaves nothing."""
    (tmp_path / "fleetkey.toml").write_text("[topics]\npreset = 'losant'\n")
    (tmp_path / "temporary").mkdir()
    began = time.monotonic()
    environment = {"TMPDIR": str(tmp_path / "temporary")}
    ended = cli("demo", *(["--json"] if as_json else []), folder=tmp_path, environment=environment)
    assert time.monotonic() - began < 15
    assert (ended.status, ended.err) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleetkey.toml", "temporary"]
    assert list((tmp_path / "temporary").iterdir()) == []
    if as_json:
        steps = [json.loads(line) for line in ended.out.splitlines()]
        assert all(step["ok"] is True and step["step"] and step["detail"] for step in steps)
        assert len(steps) >= DEMO_STEPS
    else:
        assert ended.out.count("✓") >= DEMO_STEPS
        assert "✗" not in ended.out


def test_serve_short_secret(tmp_path: Path) -> None:
    """A verifier's secret that could be guessed stops the start; the message names the setting and not the secret."""
    settings = tmp_path / "fleetkey.toml"
    settings.write_text('[registration]\nverifiers = ["hmac"]\n[registration.hmac.secrets]\nline = "geheim"\n')
    words = ("--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--config", settings)
    ended = cli("serve", *words, data_dir=tmp_path / "data", folder=tmp_path)
    assert ended.status == 2
    assert "registration.hmac.secrets.line" in ended.error
    assert "geheim" not in ended.err
