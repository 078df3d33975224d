"""What a running server does by itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fleetkey.cli.serve.embedded_server import EmbeddedServer
from fleetkey.config import load_settings
from fleetkey.registry import AuditEntry
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine


def test_audit_days(fleetkey: CommandLine) -> None:
    """Audit entries that are older than `max_audit_days` go, and younger ones stay."""
    with fleetkey.store() as store:
        store._clock = lambda: time.time() - 3 * 86_400
        store.record(AuditEntry(actor="test", action="old", outcome="ok"))
        store._clock = time.time
        store.record(AuditEntry(actor="test", action="young", outcome="ok"))
    file = fleetkey.folder / "fleetkey.toml"
    file.write_text("[http]\nbind = '127.0.0.1:0'\n[mqtt]\nbind = '127.0.0.1:0'\n[store]\nmax_audit_days = 2\n")
    with EmbeddedServer(load_settings(file, {"data_dir": fleetkey.data_dir})) as server:
        assert eventually(lambda: [entry.action for entry in server.store.last_audit(9)] == ["young"])
