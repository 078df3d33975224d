"""Progress bars on a terminal, and nothing elsewhere. They show only our own words and numbers."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["counting", "reading"]


@contextlib.contextmanager
def counting(what: str, things: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar; the function that is yielded takes how many are done, and of how many."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn(f"{{task.completed:,}} {things}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def reading(file: Path, stream: BinaryIO) -> Iterator[Callable[[int], None] | None]:
    """Show a bar of the bytes read; the function that is yielded takes how many serials they held."""
    if not sys.stderr.isatty():
        yield None
        return
    total = file.stat().st_size if str(file) != "-" else None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[count]:,} serials"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=total, count=0)

        def show(count: int) -> None:
            bar.update(task, count=count, completed=stream.tell() if total is not None else None)

        yield show
