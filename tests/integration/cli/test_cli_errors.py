"""Whatever goes wrong is one sentence on standard error and an exit status: 2 for usage and settings, 1 otherwise."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fleetkey.operations import make_self_signed, write_pair
from tests.support.command_line import clean_environment, cli

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine

BAD_SETTINGS = {
    "unknown_key": ("[mqtt]\nbinding = '127.0.0.1:0'\n", ("mqtt.binding", "{file}")),
    "unknown_table": ("[mqqt]\nbind = '127.0.0.1:0'\n", ("mqqt", "{file}")),
    "no_toml": ("[mqtt\n", ("{file}", "not valid TOML")),
    "not_utf8": ("data_dir = '\udcff'\n", ("{file}", "not UTF-8")),
    "wrong_type": ("[registration]\nmax_keys = 'many'\n", ("registration.max_keys", "{file}")),
    "out_of_range": ("[access]\nbcrypt_rounds = 31\n", ("access.bcrypt_rounds", "{file}")),
    "half_of_tls": ("[http]\ntls_cert = 'a.pem'\n", ("tls_key",)),
}
BAD_VARIABLES = {
    "unknown_table": ("FLEETKEY_MQQT__BIND", "127.0.0.1:0"),
    "unknown_key": ("FLEETKEY_MQTT__BINDING", "127.0.0.1:0"),
    "wrong_type": ("FLEETKEY_REGISTRATION__MAX_KEYS", "many"),
}
NOBODY = "0" * 24
NO_KEY = "0" * 32
UNKNOWN = {
    "device_show": ("devices", "show", NOBODY),
    "device_approve": ("devices", "approve", NOBODY),
    "device_disable": ("devices", "disable", NOBODY),
    "device_enable": ("devices", "enable", NOBODY),
    "device_delete": ("devices", "delete", NOBODY),
    "device_tag": ("devices", "tag", NOBODY, "a=b"),
    "device_rotate": ("keys", "rotate", NOBODY),
    "device_of_application": ("keys", "create", "--application", "x", "--device", NOBODY),
    "key": ("keys", "revoke", NO_KEY),
    "serial": ("serials", "remove", "SN-nobody"),
    "file": ("serials", "import", "nowhere.txt"),
}
BAD_USAGE = {
    "no_such_option": ("serials", "list", "--nope"),
    "no_such_command": ("serials", "burn"),
    "missing_argument": ("devices", "show"),
    "missing_option": ("keys", "create", "--all-devices"),
    "out_of_range": ("keys", "rotate", NOBODY, "--grace-seconds", "-1"),
    "delete_many_unconfirmed": ("devices", "delete", "--tag", "site=north"),
    "delete_two_unconfirmed": ("devices", "delete", NOBODY, NO_KEY),
    "online_and_offline": ("devices", "list", "--online", "--offline"),
    "offline_and_online": ("devices", "list", "--offline", "--online"),
    "no_number": ("audit", "--limit", "many"),
    "bad_address": ("serve", "--http", "127.0.0.1"),
}
IMPOSSIBLE = {
    "tag_without_equals": ("devices", "tag", NOBODY, "site"),
    "tag_without_name": ("devices", "tag", NOBODY, "=north"),
    "nobody_named": ("devices", "approve"),
    "ids_and_filter": ("devices", "approve", NOBODY, "--tag", "a=b"),
    "tag_twice": ("devices", "list", "--tag", "a=b", "--tag", "a=c"),
    "end_in_the_past": ("keys", "create", "--application", "x", "--all-devices", "--expires", "2020-01-01"),
    "end_that_is_none": ("tokens", "create", "--name", "x", "--role", "viewer", "--expires", "yesterday"),
    "moment_that_is_none": ("audit", "--since", "foo"),
    "url_and_data_dir": ("devices", "list", "--url", "http://127.0.0.1:1"),
    "token_file_without_url": ("devices", "list", "--token-file", "x"),
    "url_before_export": ("audit", "--url", "http://127.0.0.1:1", "export", "x"),
    "bad_serial": ("serials", "add", " x"),
    "filter_without_equals": ("devices", "list", "--tag", "site"),
    "empty_scope": ("keys", "create", "--application", "x"),
    "scope_tag_without_value": ("keys", "create", "--application", "x", "--tag", "site="),
    "scope_all_and_one": ("keys", "create", "--application", "x", "--all-devices", "--device", NOBODY),
    "scope_bad_filter": ("keys", "create", "--application", "x", "--subscribe", "a/#/b"),
    "application_without_name": ("keys", "create", "--application", " ", "--all-devices"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_bad_settings_file(bare_fleetkey: CommandLine, name: str) -> None:
    """The sentence names the key and the file; nothing is made."""
    content, named = BAD_SETTINGS[name]
    file = bare_fleetkey.folder / "mine.toml"
    file.write_bytes(content.encode(errors="surrogateescape"))
    said = bare_fleetkey.error("serials", "list", "--config", file, status=2)
    for part in named:
        assert part.format(file=file) in said
    assert not bare_fleetkey.data_dir.exists()


def test_missing_settings_file(fleetkey: CommandLine) -> None:
    """A settings file that was asked for has to exist."""
    assert "nowhere.toml" in fleetkey.error("serials", "list", "--config", "nowhere.toml", status=2)


def test_settings_file_of_this_folder(fleetkey: CommandLine) -> None:
    """`fleetkey.toml` in the current folder counts without being named."""
    Path("fleetkey.toml").write_text("nope = 1\n")
    assert "nope" in fleetkey.error("serials", "list", status=2)


@pytest.mark.parametrize("name", BAD_VARIABLES)
def test_bad_variable(fleetkey: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A variable that no setting reads, or can't, is named."""
    variable, value = BAD_VARIABLES[name]
    monkeypatch.setenv(variable, value)
    said = fleetkey.error("serials", "list", status=2)
    assert variable in said or variable.removeprefix("FLEETKEY_").replace("__", ".").lower() in said


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown(fleetkey: CommandLine, name: str) -> None:
    """The sentence repeats what there is none of."""
    words = UNKNOWN[name]
    said = fleetkey.error(*words)
    assert any(word in said for word in words[2:])


@pytest.mark.parametrize("name", BAD_USAGE)
def test_bad_usage(fleetkey: CommandLine, name: str) -> None:
    """Wrong usage is one sentence and exit status 2, before anything is done."""
    assert fleetkey.error(*BAD_USAGE[name], status=2)
    if fleetkey.data_dir.exists():
        with fleetkey.store() as store:
            assert store.last_audit(1) == []


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible(fleetkey: CommandLine, name: str) -> None:
    """A value that can't be one is one sentence, and nothing is made."""
    assert fleetkey.error(*IMPOSSIBLE[name], status=2)
    assert fleetkey.json("keys", "list", "--all") == []


def test_error_as_json_from_a_process(fleetkey: CommandLine) -> None:
    """In a process of its own as well, standard error holds the JSON and nothing else."""
    ended = cli("devices", "show", NOBODY, "--json", data_dir=fleetkey.data_dir)
    assert (ended.status, ended.out) == (1, "")
    assert json.loads(ended.error) == {"error": f"there is no device {NOBODY}"}


def test_output_that_nobody_reads(fleetkey: CommandLine) -> None:
    """A closed pipe ends a long list without a traceback."""
    with fleetkey.store() as store:
        store.add_serials((f"SN-{number:06}" for number in range(20_000)), actor="test")
    command = '"$PYTHON" -m fleetkey serials list --data-dir data 2> errors.txt | head -n 1 > first.txt'
    environment = clean_environment({"PYTHON": sys.executable})
    subprocess.run(["/bin/sh", "-c", command], cwd=fleetkey.folder, env=environment, timeout=60, check=True)
    assert (fleetkey.folder / "first.txt").read_text() == "SN-000000\n"
    assert (fleetkey.folder / "errors.txt").read_text() == ""


@pytest.mark.parametrize(
    ("host", "trusted", "hint"),
    [
        pytest.param("127.0.0.1", None, "SSL_CERT_FILE", id="own_authority"),
        pytest.param("127.0.0.1", "cert.pem", None, id="another_host"),
        pytest.param("127.0.0.1", "junk.pem", "junk.pem, set by SSL_CERT_FILE", id="junk_authority"),
        pytest.param("127.0.0.1", "none.pem", "none.pem, set by SSL_CERT_FILE", id="no_authority"),
    ],
)
def test_url_not_trusted(
    fleetkey: CommandLine, monkeypatch: pytest.MonkeyPatch, host: str, trusted: str | None, hint: str | None
) -> None:
    """A server that nobody vouches for is one sentence that says how to name an authority, unless that is no help."""
    certificate, key = write_pair(fleetkey.folder, *make_self_signed(["localhost"], days=1), overwrite=False)
    (fleetkey.folder / "junk.pem").write_text("junk")
    monkeypatch.setenv("FLEETKEY_TOKEN", "f" * 64)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if trusted is not None:
        monkeypatch.setenv("SSL_CERT_FILE", trusted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server((host, 0)) as listening:
        server = threading.Thread(target=_shake_hands, args=(listening, context))
        server.start()
        said = fleetkey("devices", "list", "--url", f"https://{host}:{listening.getsockname()[1]}", status=1).error
        listening.shutdown(socket.SHUT_RDWR)
        server.join()
    assert said.startswith("fleetkey: ")
    if hint is not None:
        assert hint in said
    else:
        assert "certificate verify failed" in said
        assert "SSL_CERT_FILE" not in said


def test_url_of_a_tls_server(fleetkey: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs up on plain HTTP is one that may want TLS, and that is said."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_pair(fleetkey.folder, *make_self_signed(["localhost"], days=1), overwrite=False))
    monkeypatch.setenv("FLEETKEY_TOKEN", "f" * 64)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=_shake_hands, args=(listening, context))
        server.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        said = fleetkey("devices", "list", "--url", url, status=1).error
        listening.shutdown(socket.SHUT_RDWR)
        server.join()
    assert said.startswith(f"fleetkey: can't reach {url}: ")
    assert said.endswith("; does it need https://?")


def test_restore_of_nothing(fleetkey: CommandLine) -> None:
    """That the backup isn't there is said before anything about a fleet that would be in the way."""
    fleetkey.device()
    assert fleetkey.error("restore", "nowhere.tar") == "there is no file nowhere.tar"


def _shake_hands(listening: socket.socket, context: ssl.SSLContext) -> None:
    with suppress(OSError):
        connection, _ = listening.accept()
        with connection, context.wrap_socket(connection, server_side=True):
            pass
