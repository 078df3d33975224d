"""`python -m fleetkey.device` against a real broker of MQTT 3.1.1."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fleetkey.device import __main__ as command_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.device import device_rig
else:
    import device_rig

OLDER = ["--mqtt-version", "3.1.1"]
PROGRAM = [sys.executable, "-m", "fleetkey.device", *OLDER]


@pytest.fixture
def broker() -> Iterator[device_rig.BrokerThread]:
    """Run a broker."""
    yield from device_rig.running_broker()


@pytest.fixture
def registration(broker: device_rig.BrokerThread) -> Iterator[device_rig.RegistrationServer]:
    """Run a registration server for it."""
    yield from device_rig.running_registration(broker)


@pytest.fixture
def backend(broker: device_rig.BrokerThread, tmp_path: Path) -> Path:
    """Save an application key as JSON."""
    broker.keys["backend"] = "chosen by a person"
    mqtt = {"host": "127.0.0.1", "port": broker.port, "tls": False, "publish": ["#"], "subscribe": ["#"]}
    path = tmp_path / "backend.json"
    path.write_text(json.dumps({"key": "backend", "secret": "chosen by a person", "mqtt": mqtt}))
    return path


def main(arguments: list[str]) -> int:
    """Run the command line with the version that this broker speaks."""
    return command_line.main([*OLDER, *arguments])


def device_arguments(registration: device_rig.RegistrationServer, tmp_path: Path, *more: str) -> list[str]:
    """Return the arguments of a device."""
    return ["--serial", "S1", "--url", registration.url, "--credentials", str(tmp_path / "device.json"), *more]


def test_once(registration: device_rig.RegistrationServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--once` registers, delivers one state, says both and exits 0; the second time it doesn't register."""
    for _ in range(2):
        assert main(device_arguments(registration, tmp_path, "--once")) == 0
        captured = capsys.readouterr()
        own = registration.device_id
        connected = f"connected as {own} to 127.0.0.1:{registration.broker.port}"
        assert captured.out.splitlines() == [connected, f"published devices/{own}/state"]
        assert captured.err == ""
    assert len(registration.requests) == 1


def test_once_in_a_new_folder(
    registration: device_rig.RegistrationServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--credentials` the file is in `credentials/`, which is made for its owner alone."""
    monkeypatch.chdir(tmp_path)
    assert main(["--serial", "S1", "--url", registration.url, "--once"]) == 0
    file = tmp_path / "credentials" / "device.json"
    assert (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


def test_once_refused_credentials(
    registration: device_rig.RegistrationServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--once` with a revoked key registers again within the same run."""
    assert main(device_arguments(registration, tmp_path, "--once")) == 0
    registration.broker.keys.clear()
    assert main(device_arguments(registration, tmp_path, "--once", "--json")) == 0
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()[2:]]
    assert events == ["connected", "published"]
    assert len(registration.requests) == 2


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        ((400, {}), "registration refused (400): not now; check the serial"),
        ((202, {"Retry-After": "30"}), "registration is waiting for an operator's approval; approve it"),
        ((503, {"Retry-After": "30"}), "registration refused (503): not now"),
    ],
)
def test_once_refused(
    registration: device_rig.RegistrationServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    refusal: tuple[int, dict[str, str]],
    sentence: str,
) -> None:
    """`--once` without credentials exits 1 with one sentence that tells what to do."""
    registration.refuse_with = refusal
    assert main(device_arguments(registration, tmp_path, "--once", "--timeout", "0.5")) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(sentence)
    assert len(captured.err.splitlines()) == 1


def test_other_serial(
    registration: device_rig.RegistrationServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of another serial is left alone: exit 1, naming both."""
    assert main(device_arguments(registration, tmp_path, "--once")) == 0
    before = (tmp_path / "device.json").read_bytes()
    arguments = device_arguments(registration, tmp_path, "--once")
    assert main(["--serial", "S2", *arguments[2:]]) == 1
    error = capsys.readouterr().err
    assert "belongs to serial S1, but this device's serial is S2" in error
    assert json.loads(before)["secret"] not in error
    assert (tmp_path / "device.json").read_bytes() == before


def test_run_until_sigterm(registration: device_rig.RegistrationServer, tmp_path: Path) -> None:
    """A device process tells that it is connected, publishes at its interval, prints what comes in, ends on SIGTERM."""
    arguments = device_arguments(registration, tmp_path, "--interval", "0.2")
    with subprocess.Popen(
        [*PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        own = f"devices/{registration.device_id}"
        assert process.stdout.readline() == (
            f"connected as {registration.device_id} to 127.0.0.1:{registration.broker.port}\n"
        )
        registration.broker.say(f"{own}/command", b'{"name": "blink"}\n\x1b[2J\xff\\')
        lines = [process.stdout.readline() for _ in range(4)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert process.stderr.read() == ""
    assert f'{own}/command {{"name": "blink"}}\\n\\x1b[2J\\xff\\\n' in lines
    states = [line.partition(" ")[2] for line in lines if line.startswith(f"{own}/state ")]
    assert len(states) == 3
    state = json.loads(states[0])
    assert state["data"]["uptime_seconds"] >= 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", state["time"]["$date"])


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let child processes have Ctrl-C, also when the tests run in the background, where a shell takes it away."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_run_tells_trouble(registration: device_rig.RegistrationServer, tmp_path: Path) -> None:
    """A device that is refused says so and goes on trying; Ctrl-C ends it."""
    registration.refuse_with = (400, {})
    arguments = device_arguments(registration, tmp_path, "--json")
    with subprocess.Popen(
        [*PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        event = json.loads(process.stderr.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
        assert process.stderr.read() == ""
    assert event["event"] == "error"
    assert event["message"].startswith("registration refused (400): not now")


def test_publish_and_subscribe(backend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--publish` delivers what `--subscribe` prints, both with an application key from a file."""
    arguments = ["--credentials", str(backend)]
    assert main([*arguments, "--publish", "a/b", "kept ü", "--retain"]) == 0
    assert capsys.readouterr().out == "published a/b\n"
    assert main([*arguments, "--subscribe", "a/+", "--count", "1", "--timeout", "5"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "a/b kept ü\n"
    assert captured.err == "subscribed to a/+\n"


@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_publish_qos(backend: Path, capsys: pytest.CaptureFixture[str], qos: str) -> None:
    """`--publish` arrives at each QoS; with --json, events are objects."""
    arguments = ["--credentials", str(backend), "--json"]
    command = [*PROGRAM, *arguments, "--subscribe", "x", "--count", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert json.loads(listener.stdout.readline()) == {"event": "subscribed", "filter": "x"}
        assert main([*arguments, "--publish", "x", "hello", "--qos", qos]) == 0
        message = json.loads(listener.stdout.readline())
        assert listener.wait(5) == 0
    assert json.loads(capsys.readouterr().out) == {"event": "published", "topic": "x", "qos": int(qos)}
    assert (message["topic"], message["payload"]) == ("x", "hello")


def test_subscribe_too_few(backend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--subscribe --count` exits 1 when the time is over first; without a count that is the plan."""
    arguments = ["--credentials", str(backend), "--subscribe", "none", "--timeout", "0.2"]
    assert main([*arguments, "--count", "2"]) == 1
    assert "received only 0 of 2 messages within 0.2 s" in capsys.readouterr().err
    assert main(arguments) == 0


def test_subscribe_refused(backend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A SUBACK of 0x80 is exit 1 and one sentence."""
    assert main(["--credentials", str(backend), "--subscribe", device_rig.FORBIDDEN]) == 1
    assert capsys.readouterr().err.startswith("the broker refused the subscription to forbidden/#; ")


@pytest.mark.parametrize("command", [["--publish", "t", "p"], ["--subscribe", "t"]])
def test_not_authorised(
    broker: device_rig.BrokerThread, backend: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """CONNACK 5 is exit 1 and says so; nothing registers or tries again."""
    broker.keys.clear()
    assert main(["--credentials", str(backend), *command]) == 1
    assert capsys.readouterr().err.startswith("refused by the broker: not authorised; ")
    assert len(broker.attempts) == 1


def test_publish_broker_gone(
    broker: device_rig.BrokerThread, backend: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a broker it is exit 1 and says where it looked."""
    broker.stop()
    assert main(["--credentials", str(backend), "--publish", "t", "p"]) == 1
    assert f"can't reach the broker at 127.0.0.1:{broker.port}" in capsys.readouterr().err


def test_subscribe_closed_pipe(backend: Path) -> None:
    """A reader that goes away ends it quietly."""
    assert main(["--credentials", str(backend), "--publish", "t", "p", "--retain"]) == 0
    command = [*PROGRAM, "--credentials", str(backend), "--subscribe", "t"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "t p\n"
        process.stdout.close()
        assert main(["--credentials", str(backend), "--publish", "t", "p"]) == 0
        assert process.wait(5) == 0
        assert process.stderr.read() == "subscribed to t\n"
