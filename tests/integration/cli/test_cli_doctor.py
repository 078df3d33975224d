"""`fleetkey doctor`: what is wrong, what to do about it, and an exit status for scripts."""

from __future__ import annotations

import json
import os
import socket
import time
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.cli.serve.embedded_server import EmbeddedServer
from fleetkey.config import load_settings
from fleetkey.operations import certificate_end, make_self_signed, write_pair
from fleetkey.registry import AuditEntry, WebhookState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo
    from pathlib import Path

    from tests.integration.cli.cli_rig import CommandLine

FREE = "[http]\nbind = '127.0.0.1:0'\n[mqtt]\nbind = '127.0.0.1:0'\nmax_connections = 500\n"


@pytest.fixture
def taken() -> Iterator[int]:
    """Take a port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def _examine(fleetkey: CommandLine, settings: str, *, status: int = 0) -> dict[str, Any]:
    (fleetkey.folder / "fleetkey.toml").write_text(settings)
    findings = fleetkey("doctor", "--data-dir", fleetkey.data_dir, "--json", status=status).json
    for finding in findings:
        assert set(finding) == {"check", "verdict", "detail", "advice"}
        assert bool(finding["advice"]) == (finding["verdict"] != "ok")
    return {finding["check"]: finding["verdict"] for finding in findings}


def test_all_well(bare_fleetkey: CommandLine) -> None:
    """A sound installation: every check is ok, with and without a registry, and none is made."""
    verdicts = _examine(bare_fleetkey, FREE)
    assert set(verdicts.values()) == {"ok"}
    assert {"settings", "topics", "store", "clock", "http port", "mqtt port"} <= set(verdicts)
    assert not bare_fleetkey.data_dir.exists()
    bare_fleetkey.device()
    assert set(_examine(bare_fleetkey, FREE).values()) == {"ok"}
    said = bare_fleetkey.text("doctor")
    assert "OK" in said
    assert "FAILED" not in said


def test_port_in_use(fleetkey: CommandLine, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that something else has is a warning, as no server could start there."""
    monkeypatch.setattr("fleetkey.cli.doctor.ports.HEALTH_SECONDS", 0.1)
    verdicts = _examine(fleetkey, f"[http]\nbind = '127.0.0.1:{taken}'\n[mqtt]\nbind = '127.0.0.1:0'\n")
    assert (verdicts["http port"], verdicts["mqtt port"]) == ("warning", "ok")


def test_beside_its_own_server(fleetkey: CommandLine) -> None:
    """The addresses of a server that runs on this fleet are well; to another fleet they are taken."""
    free = fleetkey.folder / "free.toml"
    free.write_text(FREE)
    with EmbeddedServer(load_settings(free, {"data_dir": fleetkey.data_dir})) as server:
        http = server.http_url.removeprefix("http://")
        settings = f"[http]\nbind = '{http}'\n[mqtt]\nbind = '127.0.0.1:{server.mqtt_port()}'\nmax_connections = 500\n"
        assert set(_examine(fleetkey, settings).values()) == {"ok"}
        said = fleetkey.text("doctor")
        assert said.count(f"(pid {os.getpid()})") == 2
        words = ("doctor", "--data-dir", fleetkey.folder / "other", "--json")
        of_another = {finding["check"]: finding for finding in fleetkey(*words).json}
        assert of_another["http port"]["verdict"] == of_another["mqtt port"]["verdict"] == "warning"
        assert "by another fleet's server" in of_another["http port"]["detail"]


def test_open_to_others(fleetkey: CommandLine) -> None:
    """Secrets without TLS beyond this machine are a warning."""
    verdicts = _examine(fleetkey, "[http]\nbind = '0.0.0.0:0'\n[mqtt]\nbind = '127.0.0.1:0'\n")
    assert verdicts["exposure"] == "warning"


def test_readable_by_others(fleetkey: CommandLine) -> None:
    """A registry that other users may reach is a warning that says how to close it."""
    fleetkey.device()
    fleetkey.database.chmod(0o644)
    assert _examine(fleetkey, FREE)["permissions"] == "warning"
    assert "chmod" in fleetkey.text("doctor")


def test_clock_behind_the_registry(fleetkey: CommandLine) -> None:
    """Entries from the future are a warning."""
    with fleetkey.store() as store:
        store._clock = lambda: 4_000_000_000.0
        store.add_serials(["SN-1"], actor="test")
    assert _examine(fleetkey, FREE)["clock"] == "warning"


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        ("nope = 1\n", "settings"),
        ("[http\n", "settings"),
        (FREE + "[topics]\npublish = ['{nope}/#']\n", "topics"),
        (FREE + "[store]\nurl = 'letters://somewhere'\n", "settings"),
        ("[http]\nbind = '192.0.2.1:8080'\n[mqtt]\nbind = '127.0.0.1:0'\n", "http port"),
        (FREE + "tls_cert = 'none.pem'\ntls_key = 'none.pem'\n", "mqtt TLS"),
    ],
    ids=["unknown_key", "no_toml", "topic_pattern", "store_url", "foreign_address", "no_certificate"],
)
def test_failed(fleetkey: CommandLine, settings: str, check: str) -> None:
    """What keeps the server from starting is a failure with advice, and exit status 1."""
    assert _examine(fleetkey, settings, status=1)[check] == "failed"


@pytest.mark.parametrize(
    ("settings", "whose"),
    [
        ("publish = ['{tag:site}/#']", ["without a profile"]),
        ("publish = ['{tag:site}/#']\n[profiles.a]\n[profiles.b]\ntags = { site = 'x' }", ["without", "of profile a"]),
        ("[profiles.a]\nsubscribe = ['{tag:site}/#']", ["of profile a"]),
        ("publish = ['{tag:site}/#']\n[profiles.a]\npublish = ['a']", ["without a profile"]),
        ("[profiles.a]\nsubscribe = ['{tag:site}/#']\ntags = { site = 'x' }", []),
    ],
    ids=["fleet", "fleet_with_profiles", "profile", "other_topics", "set"],
)
def test_topics_need_a_tag(fleetkey: CommandLine, settings: str, whose: list[str]) -> None:
    """Topics with a tag that nothing is sure to give are a warning: such devices would be kept out."""
    (fleetkey.folder / "fleetkey.toml").write_text(f"{FREE}[topics]\n{settings}\n")
    findings = fleetkey("doctor", "--data-dir", fleetkey.data_dir, "--json").json
    found = [one for one in findings if one["check"] == "topic tags"]
    assert [one["verdict"] for one in found] == ["warning"] * len(whose)
    for finding, devices in zip(found, whose, strict=True):
        assert devices in finding["detail"]
        assert finding["detail"].endswith(": site")


def test_foreign_file(bare_fleetkey: CommandLine) -> None:
    """A registry that is none is a failure, and is left as it is."""
    bare_fleetkey.data_dir.mkdir()
    bare_fleetkey.database.write_bytes(b"a letter")
    assert _examine(bare_fleetkey, FREE, status=1)["store"] == "failed"
    assert bare_fleetkey.database.read_bytes() == b"a letter"


@pytest.mark.parametrize("below", [False, True], ids=["the_folder", "a_folder_above"])
def test_data_folder_is_a_file(bare_fleetkey: CommandLine, *, below: bool) -> None:
    """A data folder that `serve` could not make is a failure."""
    bare_fleetkey.data_dir.write_text("in the way")
    folder = bare_fleetkey.data_dir / "deeper" if below else bare_fleetkey.data_dir
    assert _verdict_of_store(bare_fleetkey, folder) == "failed"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_data_folder_not_writable(fleetkey: CommandLine) -> None:
    """A data folder below one that this user can't write to is a failure."""
    fleetkey.folder.joinpath("fleetkey.toml").write_text(FREE)
    fleetkey.data_dir.mkdir(mode=0o500)
    assert _verdict_of_store(fleetkey, fleetkey.data_dir / "deeper") == "failed"


def _verdict_of_store(fleetkey: CommandLine, folder: Path) -> str:
    (fleetkey.folder / "fleetkey.toml").write_text(FREE)
    findings = json.loads(fleetkey("doctor", "--data-dir", folder, "--json", status=1).out)
    verdict: str = {finding["check"]: finding["verdict"] for finding in findings}["store"]
    return verdict


def test_shared_secrets(fleetkey: CommandLine) -> None:
    """A group secret that isn't there, too short or open to others is found; none is shown."""
    settings, file = fleetkey.folder / "fleetkey.toml", fleetkey.folder / "line.secret"
    registration = '[registration]\nverifiers = ["hmac"]\n'
    settings.write_text(f'{registration}[registration.hmac]\nsecret_files = {{ a = "line.secret" }}\n')
    words = ("doctor", "--data-dir", fleetkey.data_dir, "--json", "--config", settings)

    def verdict(check: str, status: int = 0) -> str:
        return next(str(one["verdict"]) for one in fleetkey(*words, status=status).json if one["check"] == check)

    assert verdict("shared secret", status=1) == "failed"
    file.write_text("geheim")
    assert verdict("shared secret", status=1) == "failed"
    assert "geheim" not in fleetkey(*words, status=1).out
    file.write_text("s" * 64)
    file.chmod(0o644)
    assert verdict("group secrets") == "ok"
    assert verdict("permissions") == "warning"
    file.chmod(0o600)
    assert "s" * 64 not in fleetkey(*words).out


@pytest.mark.parametrize(
    ("registration", "is_warned"),
    [
        ('verifiers = ["pattern"]', True),
        ('verifiers = ["pattern", "open"]', True),
        ('verifiers = ["pattern"]\nrequire_approval = true', False),
        ('verifiers = ["pattern", "allowlist"]', False),
    ],
)
def test_pattern_alone(fleetkey: CommandLine, registration: str, *, is_warned: bool) -> None:
    """A form that anyone can guess is no proof, and doctor says so."""
    settings = fleetkey.folder / "fleetkey.toml"
    settings.write_text(f"[registration]\n{registration}\n[registration.pattern]\nserials = ['SN-[0-9]+']\n")
    found = fleetkey("doctor", "--data-dir", fleetkey.data_dir, "--json", "--config", settings).json
    assert any(one["check"] == "exposure" and "guesses" in one["detail"] for one in found) == is_warned


HOOK = "[webhooks.backend]\nurl = 'http://127.0.0.1:{port}/'\nsecrets = ['0123456789abcdef0123456789abcdef']\n"


@pytest.mark.parametrize(("days", "verdict"), [(0, "failed"), (5, "warning"), (60, "ok")])
def test_certificate_end(fleetkey: CommandLine, monkeypatch: pytest.MonkeyPatch, days: int, verdict: str) -> None:
    """A certificate that ended is a failure, one that ends soon a warning; the date is named."""
    certificate, key = make_self_signed(["localhost"], days=max(days, 1))
    write_pair(fleetkey.folder, certificate, key, overwrite=True)
    if not days:
        ends = certificate_end(fleetkey.folder / "cert.pem")

        class Later(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return ends.astimezone(tz) + timedelta(seconds=1)

        monkeypatch.setattr("fleetkey.cli.doctor.certificates.datetime", Later)
    settings = FREE + "tls_cert = 'cert.pem'\ntls_key = 'key.pem'\n"
    verdicts = _examine(fleetkey, settings, status=int(verdict == "failed"))
    assert verdicts["mqtt TLS"] == verdict
    (fleetkey.folder / "key.pem").chmod(0o604)
    assert _examine(fleetkey, settings, status=int(verdict == "failed"))["permissions"] == "warning"


JUNK = b"not a certificate"


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        pytest.param("cert.pem", JUNK, "cert.pem contains no PEM certificate", id="junk_certificate"),
        pytest.param("key.pem", JUNK, "key.pem contains no PEM private key", id="junk_key"),
        pytest.param("key.pem", None, "key.pem can't be read: No such file", id="no_key"),
        pytest.param("cert.pem", None, "cert.pem can't be read: No such file", id="no_certificate"),
        pytest.param("key.pem", make_self_signed(["localhost"], days=1)[1], "don't match", id="another_key"),
        pytest.param("key.pem", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "an encrypted key", id="encrypted"),
    ],
)
def test_certificate_unusable(fleetkey: CommandLine, file: str, content: bytes | None, reason: str) -> None:
    """Which of the two files can't be used is said, and why, in words."""
    write_pair(fleetkey.folder, *make_self_signed(["localhost"], days=60), overwrite=True)
    if content is None:
        (fleetkey.folder / file).unlink()
    else:
        (fleetkey.folder / file).write_bytes(content)
    (fleetkey.folder / "fleetkey.toml").write_text(FREE + "tls_cert = 'cert.pem'\ntls_key = 'key.pem'\n")
    findings = fleetkey("doctor", "--data-dir", fleetkey.data_dir, "--json", status=1).json
    (said,) = [finding["detail"] for finding in findings if finding["check"] == "mqtt TLS"]
    assert reason in said


def test_webhook_reachable(fleetkey: CommandLine, taken: int) -> None:
    """A receiver that takes connections is ok, another is a warning, a secret that can't be read a failure."""
    assert _examine(fleetkey, FREE + HOOK.format(port=taken))["hook backend"] == "ok"
    assert _examine(fleetkey, FREE + HOOK.format(port=1))["hook backend"] == "warning"
    unreadable = "[webhooks.backend]\nurl = 'https://127.0.0.1:1/'\nsecret_file = 'nowhere'\n"
    assert _examine(fleetkey, FREE + unreadable, status=1)["hook backend"] == "failed"


def test_http_verifier_reachable(fleetkey: CommandLine, taken: int) -> None:
    """Nothing can register while the API that decides can't be reached: a failure; unless it isn't asked."""
    verifier = "[registration]\nverifiers = ['{name}']\n[registration.http]\nurl = 'http://127.0.0.1:{port}/'\n"
    verifier += f"secret = '{'s' * 32}'\n"
    assert _examine(fleetkey, FREE + verifier.format(name="http", port=taken))["http verifier"] == "ok"
    assert _examine(fleetkey, FREE + verifier.format(name="http", port=1), status=1)["http verifier"] == "failed"
    said = fleetkey("doctor", "--data-dir", fleetkey.data_dir, status=1).out
    assert "127.0.0.1:1 can't be reached: Connection refused" in said
    assert "http verifier" not in _examine(fleetkey, FREE + verifier.format(name="allowlist", port=1))


def test_webhook_missed(fleetkey: CommandLine, taken: int) -> None:
    """What a webhook missed or gave up is said."""
    with fleetkey.store() as store:
        store.save_webhook(WebhookState(name="backend", position=0, missed=7, given_up=2, last_error="too_slow"))
    (fleetkey.folder / "fleetkey.toml").write_text(FREE + HOOK.format(port=taken))
    said = fleetkey.text("doctor")
    assert "2 events could not be delivered, 7 changes were missed" in said
    assert "too_slow" in said


def test_backup_age(fleetkey: CommandLine) -> None:
    """With `backup_days`, none and an old backup are a warning; without, nobody asks."""
    fleetkey.device()
    asked = FREE + "[store]\nbackup_days = 2\n"
    assert "backup" not in _examine(fleetkey, FREE)
    assert _examine(fleetkey, asked)["backup"] == "warning"
    fleetkey.json("backup", fleetkey.folder / "fleet.tar")
    assert _examine(fleetkey, asked)["backup"] == "ok"
    with fleetkey.store() as store:
        store._clock = lambda: time.time() - 3 * 86_400
        store.record(AuditEntry(actor="test", action="backup_made", outcome="ok"))
    assert _examine(fleetkey, asked)["backup"] == "warning"


@pytest.mark.parametrize(("free", "verdict"), [(10**7, "failed"), (10**9, "warning"), (10**10, "ok")])
def test_disk_space(fleetkey: CommandLine, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str) -> None:
    """Little room is a warning, next to none a failure."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    assert _examine(fleetkey, FREE, status=int(verdict == "failed"))["disk"] == verdict


def test_open_files(fleetkey: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is too low for the settings is a warning with both numbers; one for no server at all, a failure."""
    monkeypatch.setattr("fleetkey.cli.doctor.host.open_file_limit", lambda _: 1024)
    assert _examine(fleetkey, FREE.replace("500", "5000"))["open files"] == "warning"
    said = fleetkey.text("doctor", "--config", fleetkey.folder / "fleetkey.toml")
    assert "may open 1,024, the settings need 6,128: it accepts" in said
    assert "LimitNOFILE=6128" in said
    monkeypatch.setattr("fleetkey.cli.doctor.host.open_file_limit", lambda _: 100)
    assert _examine(fleetkey, FREE, status=1)["open files"] == "failed"
