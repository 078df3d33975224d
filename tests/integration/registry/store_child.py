"""Another process that uses registries: reads commands from standard input, answers each with one line.

Runs as a script, so it imports the product alone.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path

from fleetkey.registry import (
    DeviceState,
    IssueRequest,
    KeyIssued,
    Reregistration,
    SqliteStore,
    StoreError,
    new_access_key,
)


def _issue(store: SqliteStore, serial: str) -> str:
    outcome = store.issue_device_key(
        IssueRequest(
            serial=serial,
            key=new_access_key(),
            secret_hash="-",
            reregistration=Reregistration.ADD,
            grace_seconds=0,
            max_keys=1_000,
            require_approval=False,
        )
    )
    assert isinstance(outcome, KeyIssued)
    return outcome.device.device_id


def _answer(command: str, path: Path, argument: str) -> str:
    try:
        with closing(SqliteStore(path)) as store:
            if command == "issue":
                serial, count = argument.split()
                return {_issue(store, serial) for _ in range(int(count))}.pop()
            if command == "disable":
                store.set_device_state(argument, DeviceState.DISABLED, actor="child")
                return str(time.time())
            store.add_serials([argument], actor="child")
            return "ok"
    except StoreError as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        verb, place, rest = line.rstrip("\n").split("\t")
        print(_answer(verb, Path(place), rest), flush=True)
