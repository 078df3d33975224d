"""What log lines show."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAILING = """
import logging, structlog
from fleetkey.cli.logs import configure_logs
from fleetkey.config import Settings
configure_logs(Settings.model_construct().log.model_copy(update={"format": %r}))
def fail():
    password = "-".join(["local", "variable"])
    raise ValueError("what happened")
for logger in (logging.getLogger("library"), structlog.get_logger()):
    try:
        fail()
    except ValueError:
        logger.exception("failed")
"""


@pytest.mark.parametrize("log_format", ["pretty", "json"])
def test_no_local_variables(log_format: str) -> None:
    """A traceback says where and what, never what variables held: they may be passwords."""
    code = FAILING % log_format
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stderr
    assert said.count("what happened") == 2
    assert "local-variable" not in said
