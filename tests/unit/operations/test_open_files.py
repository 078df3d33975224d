"""Who may have how many open files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleetkey.config import load_settings
from fleetkey.operations import FilePlan, TooFewFilesError, open_file_limit, plan_files
from tests.support.command_line import REPOSITORY

PAIR = {"tls_cert": Path("cert.pem"), "tls_key": Path("key.pem")}
WITH_TLS = {f"{table}.{name}": path for table in ("http", "mqtt") for name, path in PAIR.items()}


def _plan(limit: int | None, **settings: Any) -> FilePlan:
    return plan_files(load_settings(None, {name.replace("__", "."): value for name, value in settings.items()}), limit)


def _used(plan: FilePlan, *, tls: bool) -> int:
    """Return what clients and the others have at most."""
    handshakes = plan.mqtt_pending + plan.http_connections if tls else 0
    return plan.reserve + plan.mqtt_connections + plan.http_connections + handshakes


def test_enough() -> None:
    """Everybody gets what the settings say."""
    plan = _plan(None)
    assert not plan.is_lowered
    assert (plan.mqtt_connections, plan.mqtt_pending, plan.mqtt_pending_per_address) == (20_000, 4_000, 1_000)
    assert plan.http_connections == 1_000
    assert plan.wanted == _used(plan, tls=False)
    assert _plan(plan.wanted) == plan
    assert _plan(plan.wanted - 1).is_lowered


def test_documented_needs() -> None:
    """The reference has the numbers of the defaults."""
    text = (REPOSITORY / "docs/reference/limits.md").read_text()
    needs = re.search(r"With the defaults that is ([\d,]+), and ([\d,]+) with TLS everywhere", text)
    assert needs is not None
    assert [int(number.replace(",", "")) for number in needs.groups()] == [
        _plan(None).wanted,
        plan_files(load_settings(None, WITH_TLS)).wanted,
    ]


@pytest.mark.parametrize("limit", [192, 256, 400, 1_024, 4_096, 20_000])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_lowered(limit: int, *, tls: bool) -> None:
    """All together fit under the limit, each has some, and none has more than the settings say."""
    plan = plan_files(load_settings(None, WITH_TLS if tls else {}), limit)
    assert plan.is_lowered
    assert _used(plan, tls=tls) <= limit
    assert 1 <= plan.mqtt_pending_per_address <= plan.mqtt_pending <= plan.mqtt_connections < 20_000
    assert 1 <= plan.http_connections <= 1_000


def test_lowered_for_mqtt_alone() -> None:
    """Where HTTP gets all the connections that its setting asks for, one address gets what its setting says too."""
    settings = load_settings(None, {"http.max_connections": 2})
    held = plan_files(settings, 20_000).applied_to(settings)
    assert held.mqtt.max_connections < 20_000
    assert (held.http.max_connections, held.http.max_connections_per_address) == (2, 100)


def test_lowered_without_a_bound_per_address() -> None:
    """No bound of its own stays none."""
    assert _plan(1_024, mqtt__max_pending_per_address=0).mqtt_pending_per_address == 0


@pytest.mark.parametrize(("name", "more"), [("open", 0), ("http", 20)])
def test_reserve(name: str, more: int) -> None:
    """The questions to an API have descriptors of their own."""
    settings = {"registration.verifiers": [name], "registration.http.url": "https://api.example.com/"}
    settings["registration.http.secret"] = "x" * 32
    assert plan_files(load_settings(None, settings)).reserve == _plan(None).reserve + more


def test_too_few() -> None:
    """Below that there is no server, and the error says how many it takes."""
    least = _plan(None).reserve + 64
    assert _plan(least).mqtt_connections > 0
    with pytest.raises(
        TooFewFilesError, match=rf"is {least - 1}; .* a server needs at least {least}; .* `ulimit -n 21128`"
    ):
        _plan(least - 1)


def test_applied() -> None:
    """The settings that hold are the lowered ones; nothing else is changed."""
    settings = load_settings(None, {"mqtt.max_inflight": 7})
    plan = plan_files(settings, 1_024)
    held = plan.applied_to(settings)
    assert held.mqtt.max_connections == plan.mqtt_connections
    assert held.mqtt.max_pending_connections == plan.mqtt_pending
    assert held.http.max_connections == plan.http_connections
    assert (held.mqtt.max_inflight, held.registration) == (7, settings.registration)


RAISE = """
import resource
from fleetkey.operations import raise_open_file_limit
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))
print(raise_open_file_limit(200), *resource.getrlimit(resource.RLIMIT_NOFILE))
print(raise_open_file_limit(150), *resource.getrlimit(resource.RLIMIT_NOFILE))
print(raise_open_file_limit(500), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_raise() -> None:
    """As far as it is needed, never back, and no further than the hard limit."""
    ended = subprocess.run([sys.executable, "-c", RAISE], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.split() == ["200", "200", "300", "200", "200", "300", "300", "300", "300"]


def test_limit_of_another_process() -> None:
    """It is what the system says of it; nothing of one that isn't there."""
    if Path("/proc/self/limits").exists():
        assert open_file_limit(os.getpid()) == open_file_limit()
    assert open_file_limit(2**30) is None
