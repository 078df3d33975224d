"""The command line's own rules; what it does against a broker is in the integration tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.device.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = ["--serial", "S1", "--url", "http://127.0.0.1:9"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one of"),
        (["--serial", "S1"], "both --serial and --url"),
        (["--url", "http://h"], "both --serial and --url"),
        ([*DEVICE, "--publish", "t", "p"], "give one of"),
        (["--publish", "t", "p", "--subscribe", "t"], "give one of"),
        (["--publish", "t"], "expected 2 arguments"),
        (["--publish", "a/#", "p"], "wildcards"),
        (["--publish", "", "p"], "must not be empty"),
        (["--publish", "t", "p", "--qos", "3"], "invalid choice"),
        (["--publish", "t", "p", "--count", "1"], "--count needs"),
        (["--publish", "t", "p", "--once"], "--once need"),
        (["--subscribe", "a#"], "wildcard"),
        (["--subscribe", "a", "--retain"], "--retain need"),
        (["--subscribe", "a", "--count", "0"], "invalid positive number"),
        (["--subscribe", "a", "--timeout", "nan"], "invalid positive number"),
        ([*DEVICE, "--timeout", "1"], "--timeout needs"),
        ([*DEVICE, "--interval", "-1"], "invalid positive number"),
        (["--serial", " S1", "--url", "http://h", "--once"], "without whitespace at either end"),
        (["--serial", "S1", "--url", "ftp://h", "--once"], "http:// or https://"),
        ([*DEVICE, "--mqtt-version", "4"], "invalid choice"),
        ([*DEVICE, "--secret", "x"], "unrecognized arguments"),
    ],
)
def test_usage(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage exits 2 and says what is wrong."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help has examples."""
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "not found; register with"), ("{", "not JSON; for a device, register with"), ("[]", "not credentials")],
)
def test_credentials_file(tmp_path: Path, content: str | None, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that can't be used is exit 1 and one sentence; nothing is renamed for a mere publish."""
    path = tmp_path / "backend.json"
    if content is not None:
        path.write_text(content)
    assert main(["--credentials", str(path), "--publish", "t", "p"]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1
    assert path.exists() == (content is not None)


def test_ca_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A CA file that isn't there is exit 1."""
    assert main(["--ca", str(tmp_path / "none.pem"), *DEVICE, "--once"]) == 1
    assert "No such file" in capsys.readouterr().err
