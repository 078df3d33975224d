"""The command line in this process: what `fleetkey …` does, without a new interpreter for every command."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from fleetkey.access import hash_secret, new_secret
from fleetkey.registry import IssuePending, IssueRequest, KeyIssued, Reregistration, SqliteStore, new_access_key
from tests.support.command_here import run_here

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pytest

    from tests.support.command_line import Finished

__all__ = ["CommandLine"]


class CommandLine:
    """Runs `fleetkey` on one registry, in an empty folder and without anyone's settings."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self._patch, self._output = patch, output
        patch.chdir(folder)

    @property
    def database(self) -> Path:
        """The registry's file."""
        return self.data_dir / "fleetkey.db"

    def __call__(self, *words: str | Path, status: int = 0) -> Finished:
        """Run a command exactly as given, and assert its exit status."""
        finished = self.run(words)
        assert finished.status == status, finished.err
        return finished

    def run(self, words: Iterable[str | Path]) -> Finished:
        """Run a command exactly as given, however it ends."""
        return run_here(words, self._patch, self._output)

    def text(self, *words: str | Path) -> str:
        """Run a command on the registry and return what it printed for people."""
        return self(*words, "--data-dir", self.data_dir).out

    def json(self, *words: str | Path) -> Any:
        """Run a command on the registry with `--json` and return what it said."""
        return self(*words, "--data-dir", self.data_dir, "--json").json

    def error(self, *words: str | Path, status: int = 1) -> str:
        """Run a command that fails, twice: for people and for scripts; return its one sentence."""
        sentence = self(*words, "--data-dir", self.data_dir, status=status).error
        for_scripts = self(*words, "--data-dir", self.data_dir, "--json", status=status)
        said: str = json.loads(for_scripts.error)["error"]
        assert sentence == f"fleetkey: {said}"
        assert for_scripts.out == ""
        return said

    @contextmanager
    def store(self) -> Iterator[SqliteStore]:
        """Open the registry that the commands work on."""
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        with closing(SqliteStore(self.database)) as store:
            yield store

    def device(self, serial: str = "SN-1", *, is_pending: bool = False) -> tuple[str, str]:
        """Register a device; return its id and its key, which a pending one doesn't have."""
        key = new_access_key()
        request = IssueRequest(
            serial=serial,
            key=key,
            secret_hash=hash_secret(new_secret(), 4),
            reregistration=Reregistration.ROTATE,
            grace_seconds=60,
            max_keys=5,
            require_approval=is_pending,
        )
        with self.store() as store:
            issued = store.issue_device_key(request)
        assert isinstance(issued, KeyIssued | IssuePending)
        return issued.device.device_id, key
