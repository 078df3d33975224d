"""`fleetkey serials`: the allow-list."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from fleetkey.cli.errors import CommandError
from fleetkey.cli.options import ConfigOption, DataDirOption, JsonOption, actor, opened_store
from fleetkey.cli.output import print_json
from fleetkey.registry import InvalidSerialError, parse_serial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.registry import SerialsAdded

__all__ = ["app"]

app = typer.Typer(help="The allow-list: which serials may register.", no_args_is_help=True)

MAX_LINE_BYTES = 4096


@app.command("add")
def add(
    serials: Annotated[list[str], typer.Argument(metavar="SERIAL…", help="Serials to add; all of them or none.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let serials register.

    Example: fleetkey serials add SN-0001 SN-0002
    """
    with opened_store(config, data_dir) as store:
        _print_added(store.add_serials(serials, actor=actor()), as_json=as_json)


@app.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Text, one serial a line, UTF-8; `-` reads standard input.")
    ],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add the serials of a file, all of them or none; empty lines are passed over.

    Examples:
        fleetkey serials import serials.txt

        cut -d, -f1 batch.csv | fleetkey serials import -
    """
    with opened_store(config, data_dir) as store, _opened(file) as stream, _progress(file, stream) as on_progress:
        added = store.add_serials(_lines(stream, file), actor=actor(), on_progress=on_progress)
    _print_added(added, as_json=as_json)


@app.command("list")
def list_serials(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Print the serials, in order. JSON: an array of strings.

    Example: fleetkey serials list --json
    """
    with opened_store(config, data_dir) as store:
        if not as_json:
            for serial in store.iter_serials():
                print(serial)
            return
        separator = "["
        for serial in store.iter_serials():
            sys.stdout.write(separator)
            print_json(serial)
            separator = ","
        print("]" if separator == "," else "[]")


@app.command("remove")
def remove(
    serial: Annotated[str, typer.Argument(metavar="SERIAL")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a serial off the list. A device that registered with it stays; see `fleetkey devices disable`.

    Example: fleetkey serials remove SN-0001
    """
    with opened_store(config, data_dir) as store:
        store.remove_serial(serial, actor=actor())
    if as_json:
        print_json({"removed": serial})
    else:
        print(f"removed {serial}")


def _print_added(result: SerialsAdded, *, as_json: bool) -> None:
    if as_json:
        print_json({"added": result.added, "known": result.known})
    else:
        print(f"added {result.added}, {result.known} were listed already")


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    try:
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        if error.filename is None:
            raise
        msg = f"can't read {file}: {error.strerror}"
        raise CommandError(msg) from None


def _lines(stream: BinaryIO, file: Path) -> Iterator[str]:
    """Yield the serials, or say which line is wrong."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            if text:
                yield parse_serial(text)
        except UnicodeDecodeError:
            msg = f"{file}, line {number}: not UTF-8; nothing was imported"
            raise CommandError(msg) from None
        except InvalidSerialError as error:
            msg = f"{file}, line {number}: {error}; nothing was imported"
            raise CommandError(msg) from None


@contextlib.contextmanager
def _progress(file: Path, stream: BinaryIO) -> Iterator[Callable[[int], None] | None]:
    """Show a bar on a terminal, by bytes read, and nothing otherwise."""
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
