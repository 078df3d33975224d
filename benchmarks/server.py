"""`fleetkey serve` as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["served", "served_at"]

STOP_SECONDS = 15


@contextmanager
def served(data_dir: Path, config: str) -> Iterator[int]:
    """Serve on loopback while the block runs; yields registration's port."""
    with served_at(data_dir, config) as (port, _):
        yield port


@contextmanager
def served_at(data_dir: Path, config: str) -> Iterator[tuple[int, int]]:
    """Serve on loopback while the block runs; yields the ports of registration and MQTT. Its log goes to a file.

    Args:
        data_dir: folder of the registry.
        config: what its `fleetkey.toml` says.
    """
    config_file = data_dir / "fleetkey.toml"
    config_file.write_text(config)
    command = [sys.executable, "-m", "fleetkey", "serve", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--json"]
    with (data_dir / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--config", str(config_file), "--data-dir", str(data_dir)], stdout=subprocess.PIPE, stderr=log
        )
    with process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready, (data_dir / "server.log").read_text()
            addresses = json.loads(ready)
            yield urlsplit(addresses["http"]).port or 0, int(addresses["mqtt"].rpartition(":")[2])
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)
