"""What holds for every test run: no secret may turn up anywhere, and some tests run only when asked for."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.ledger import VARIABLE, Ledger, open_ledger

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from _pytest.terminal import TerminalReporter

    from tests.support.fleet import Fleet

LEDGER = pytest.StashKey[Ledger]()
LEAKS = pytest.StashKey[list[str]]()
SERVERS = "servers"
"""The mark of tests that need a program that Fleetkey doesn't install."""
ONLY_WHEN_ASKED_FOR = ("soak", SERVERS)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Open the run's ledger, once; xdist's workers find it in their environment."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's `&` has it ignored, and so it would be by all that the tests start, and end with Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not _is_worker(config):
        config.stash[LEDGER] = open_ledger()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs only when asked for, unless `-m` names its mark."""
    asked_for = config.getoption("markexpr") or ""
    left_out = [mark for mark in ONLY_WHEN_ASKED_FOR if mark not in asked_for]
    deselected = [item for item in items if any(item.get_closest_marker(mark) for mark in left_out)]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test marked `servers` that skips: a missing program must not look like a passed test."""
    report = yield
    if report.skipped and item.get_closest_marker(SERVERS):
        report.outcome = "failed"
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"a test marked `{SERVERS}` may not skip: {reason}"
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Search all that was recorded for every secret that any test obtained; one found fails the run."""
    ledger = session.config.stash.get(LEDGER, None)
    if ledger is None:
        return
    leaks = session.config.stash[LEAKS] = ledger.leaks()
    if leaks:
        leaks.append(f"what was searched is in {ledger.folder}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    else:
        ledger.remove()


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Say where secrets were found."""
    leaks = config.stash.get(LEAKS, [])
    if leaks:
        terminalreporter.section("secrets were found where none may be", red=True)
        for line in leaks:
            terminalreporter.line(line)


@pytest.fixture
def empty_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Give a test a ledger of its own."""
    folder = tmp_path / "ledger"
    folder.mkdir()
    monkeypatch.setenv(VARIABLE, str(folder))
    return Ledger(folder)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server for a module's tests, with every listener that needs no certificate and without rate limits."""
    # Not at the top: runs that need no server, such as those that the ledger is tried in, do without all of it.
    from tests.support.fleet import Fleet  # noqa: PLC0415
    from tests.support.server import NO_LIMITS, ServerProcess  # noqa: PLC0415

    environment = {
        **NO_LIMITS,
        "FLEETKEY_MQTT__WS_BIND": "127.0.0.1:0",
        "FLEETKEY_MQTT__CONNECT_TIMEOUT_SECONDS": "2",
    }
    with ServerProcess(tmp_path_factory.mktemp("server"), environment=environment) as server:
        yield Fleet(server)
