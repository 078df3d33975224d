"""`fleetkey tls self-signed`: a certificate that TLS clients take, and settings that load."""

from __future__ import annotations

import ssl
import tomllib
from typing import TYPE_CHECKING

import pytest

from fleetkey.config import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.cli.cli_rig import CommandLine


def _handshake(certificate: Path, key: Path, host: str) -> None:
    """Let a client that trusts the certificate alone talk to a server that has it, strictly (RFC 5280)."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=certificate)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    pipes = [ssl.MemoryBIO() for _ in range(2)]
    ends = [
        client.wrap_bio(pipes[0], pipes[1], server_hostname=host),
        server.wrap_bio(pipes[1], pipes[0], server_side=True),
    ]
    for _ in range(5):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].getpeercert()


def test_self_signed(fleetkey: CommandLine) -> None:
    """It holds for the hosts that were named and for loopback; the key is its owner's; the settings load as printed."""
    printed = fleetkey.text("tls", "self-signed", "--host", "fleet.example.com", "--host", "192.0.2.7")
    folder = fleetkey.data_dir / "tls"
    file = fleetkey.folder / "printed.toml"
    file.write_text(printed)
    settings = load_settings(file)
    assert folder.stat().st_mode & 0o777 == fleetkey.data_dir.stat().st_mode & 0o777 == 0o700
    assert settings.mqtt.tls_cert == settings.http.tls_cert == (folder / "cert.pem").resolve()
    assert tomllib.loads(printed)["mqtt"]["bind"] == ""
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    for host in ("fleet.example.com", "192.0.2.7", "localhost", "127.0.0.1", "::1"):
        _handshake(folder / "cert.pem", folder / "key.pem", host)
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(folder / "cert.pem", folder / "key.pem", "other.example.com")


@pytest.mark.parametrize(
    ("host", "bind", "advertise_host"),
    [
        pytest.param("fleet.example.com", "0.0.0.0:8883", "fleet.example.com", id="name"),
        pytest.param("2001:db8::7", "[::]:8883", "2001:db8::7", id="ipv6"),
        pytest.param("*.example.com", "0.0.0.0:8883", "", id="many_names"),
        pytest.param("127.0.0.7", "127.0.0.1:8883", "", id="loopback"),
    ],
)
def test_self_signed_reachable(fleetkey: CommandLine, host: str, bind: str, advertise_host: str) -> None:
    """What is printed listens where devices that use the host can come, and tells them to use it."""
    file = fleetkey.folder / "printed.toml"
    file.write_text(fleetkey.text("tls", "self-signed", "--host", "localhost", "--host", host))
    settings = load_settings(file)
    assert (settings.mqtt.tls_bind, settings.mqtt.advertise_host) == (bind, advertise_host)
    assert settings.http.address.is_loopback == bind.startswith("127.")


def test_self_signed_again(fleetkey: CommandLine) -> None:
    """What is there is kept, unless it may be overwritten."""
    first = fleetkey.json("tls", "self-signed", "--days", "2")
    content = (fleetkey.data_dir / "tls/cert.pem").read_text()
    assert "already exists" in fleetkey.error("tls", "self-signed")
    assert (fleetkey.data_dir / "tls/cert.pem").read_text() == content
    second = fleetkey.json("tls", "self-signed", "--days", "20", "--overwrite")
    assert second["ends"] > first["ends"]
    assert sorted(path.name for path in (fleetkey.data_dir / "tls").iterdir()) == ["cert.pem", "key.pem"]


@pytest.mark.parametrize("host", ["", "a b", "-a..b", "x" * 300, "ümlaut.example.com"])
def test_self_signed_bad_host(fleetkey: CommandLine, host: str) -> None:
    """A host that can't be one is refused, and nothing is written."""
    assert "host name" in fleetkey.error("tls", "self-signed", "--host", host)
    assert not (fleetkey.data_dir / "tls").exists()


@pytest.mark.parametrize("table", ["http", "mqtt"])
@pytest.mark.parametrize("key", ["other/key.pem", "nowhere.pem"])
def test_serve_with_unusable_pair(fleetkey: CommandLine, table: str, key: str) -> None:
    """A certificate whose key doesn't fit, or isn't there, keeps the server from starting, in one sentence."""
    for folder in ("one", "other"):
        fleetkey.json("tls", "self-signed", "--out", folder)
    binds = {"http": "bind = '127.0.0.1:0'", "mqtt": "bind = ''\ntls_bind = '127.0.0.1:0'"}
    pairs = {name: f"[{name}]\n{bind}\ntls_cert = 'one/cert.pem'\ntls_key = '{key}'\n" for name, bind in binds.items()}
    plain = {name: f"[{name}]\nbind = '127.0.0.1:0'\n" for name in binds}
    (fleetkey.folder / "fleetkey.toml").write_text("".join(({**plain, table: pairs[table]}).values()))
    assert f"settings {table}.tls_cert and {table}.tls_key" in fleetkey.error("serve")
