"""The certificate of the servers with TLS."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CERTIFICATE", "PRIVATE_KEY", "make_certificate"]

CERTIFICATE, PRIVATE_KEY = "cert.pem", "key.pem"
"""The names of its files."""


def make_certificate(folder: Path) -> None:
    """Make it in a new folder."""
    command = [sys.executable, "-m", "fleetkey", "tls", "self-signed", "--out", str(folder), "--json"]
    subprocess.run([*command, "--data-dir", str(folder)], check=True, capture_output=True)
