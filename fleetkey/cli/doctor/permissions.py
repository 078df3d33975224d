"""Whether other users of this machine could read what only the server's user should."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from fleetkey.cli.doctor.findings import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["private_file", "private_key", "private_store"]

GROUP_AND_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def private_file(path: Path | None) -> Iterator[Finding]:
    """Warn if a file with a secret in it is open to the group or to others."""
    if path is not None and path.exists() and path.stat().st_mode & GROUP_AND_OTHERS:
        yield _warning(f"other users of this machine may read {path}", f"Run: chmod go= {path}")


def private_key(path: Path) -> Iterator[Finding]:
    """Warn if a TLS key is open to others. A group may read it: that is how servers commonly share one."""
    if path.stat().st_mode & stat.S_IRWXO:
        yield _warning(f"every user of this machine may read {path}", f"Run: chmod o= {path}")


def private_store(path: Path) -> Iterator[Finding]:
    """Warn if the registry or its folder is open to the group or to others."""
    if (path.parent.stat().st_mode | path.stat().st_mode) & GROUP_AND_OTHERS:
        yield _warning(f"other users of this machine may access {path}", f"Run: chmod go= {path.parent} {path}")


def _warning(detail: str, advice: str) -> Finding:
    return Finding("permissions", Verdict.WARNING, detail, advice)
