"""The options that commands share, and how they lead to the settings and the fleet."""

from __future__ import annotations

import getpass
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetkey.cli.errors import CommandError, UsageError
from fleetkey.cli.output import note
from fleetkey.config import Settings, load_settings
from fleetkey.config.labels import MAX_LABEL_CHARACTERS
from fleetkey.management import Management, build_management, parse_expiry
from fleetkey.registry import open_store, store_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fleetkey.cli.remote import RemoteFleet

    Fleet = Management | RemoteFleet
    """The services of this machine's registry, or of another machine's."""

__all__ = [
    "ExpiresOption",
    "FleetOptions",
    "LocalOptions",
    "SaveOption",
    "actor",
    "expiry_from",
    "parse_label",
    "parse_labels",
]

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="FLEETKEY_CONFIG",
        show_envvar=True,
        metavar="FILE",
        help="Settings file. Default: fleetkey.toml in the current directory, if it exists.",
        rich_help_panel="Common",
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Directory of the registry.", rich_help_panel="Common"),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Manage the server at this URL through its admin API, with the token in FLEETKEY_TOKEN or --token-file.",
        rich_help_panel="Common",
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="File with the token for --url.", rich_help_panel="Common"),
]
ExpiresOption = Annotated[
    str | None, typer.Option("--expires", metavar="WHEN", help="When it expires: 30d, 12h, or a date (UTC).")
]
SaveOption = Annotated[
    Path | None,
    typer.Option(
        "--save", metavar="FILE", help="Write the credentials to a new file (mode 0600) instead of printing them."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.", rich_help_panel="Common")]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """Options of commands that work on this machine only."""

    config: ConfigOption = None
    data_dir: DataDirOption = None
    as_json: JsonOption = False

    def settings(self, flags: Mapping[str, Any] | None = None) -> Settings:
        """Load the settings, overridden by flags. Raises `SettingsError`."""
        return load_settings(self.config, {**(flags or {}), "data_dir": self.data_dir})


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """Options of commands that work on this machine's fleet, or on another's through its admin API."""

    config: ConfigOption = None
    data_dir: DataDirOption = None
    url: UrlOption = None
    token_file: TokenFileOption = None
    as_json: JsonOption = False

    def settings(self) -> Settings:
        """Load the settings of this machine. Raises `SettingsError`."""
        return LocalOptions(config=self.config, data_dir=self.data_dir).settings()

    @contextmanager
    def fleet(self, *, makes_registry: bool = False) -> Iterator[Fleet]:
        """Open this machine's registry, or the admin API if there is a URL, for one command.

        Raises:
            CommandError: there is no registry, and the command doesn't create one.
            SettingsError: this machine's settings are invalid.
            StoreError: this machine's registry can't be opened.
            UsageError: the URL can't be used, there is no token, or the options contradict each other.
        """
        if self.is_remote():
            with self.remote() as remote:
                yield remote
            return
        with self._management(makes_registry=makes_registry) as management:
            yield management

    def is_remote(self) -> bool:
        """Whether the command works on another machine's fleet. Raises `UsageError` for a token without a URL."""
        if self.url is None and self.token_file is not None:
            msg = "--token-file needs --url"
            raise UsageError(msg)
        return self.url is not None

    @contextmanager
    def remote(self) -> Iterator[RemoteFleet]:
        """Open the admin API at the URL for one command. Raises `UsageError`, as `fleet` does."""
        if self.config is not None or self.data_dir is not None:
            msg = "--url manages a remote server; leave out --config and --data-dir"
            raise UsageError(msg)
        from fleetkey.cli.remote import RemoteClient, RemoteFleet, read_token  # noqa: PLC0415 - slow to import; only these commands need it

        client = RemoteClient(self.url or "", read_token(self.token_file))
        try:
            yield RemoteFleet(client)
        finally:
            client.close()

    @contextmanager
    def _management(self, *, makes_registry: bool) -> Iterator[Management]:
        """Open the registry and the services on top of it.

        Only commands that add something create a missing registry: in the wrong directory, nobody should mistake an
        empty fleet for their own.
        """
        settings = self.settings()
        path = store_path(settings)
        is_new = not path.exists()
        if is_new and not makes_registry:
            msg = f"there is no registry at {path}; use --config or --data-dir to name another, or run: fleetkey serve"
            raise CommandError(msg)
        store = open_store(settings)
        try:
            yield build_management(settings, store)
        finally:
            store.close()
        if is_new:
            note(f"created a new registry: {path}")


def parse_label(text: str, what: str = "tag") -> tuple[str, str]:
    """Split `name=value`.

    Raises:
        UsageError: there is no `=` or no name, or either is too long.
    """
    name, separator, value = text.partition("=")
    if not separator or not name:
        msg = f"{text!r} is not {'an' if what == 'attribute' else 'a'} {what}; write NAME=VALUE"
        raise UsageError(msg)
    if max(len(name), len(value)) > MAX_LABEL_CHARACTERS or not (name + value).isprintable():
        msg = f"{what} names and values must be at most {MAX_LABEL_CHARACTERS} printable characters each"
        raise UsageError(msg)
    return name, value


def parse_labels(texts: Iterable[str] | None, what: str = "tag") -> dict[str, str]:
    """Split each `name=value`. Raises `UsageError`, also for a name with two values."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, value = parse_label(text, what)
        if found.setdefault(name, value) != value:
            msg = f"the {what} {name!r} is given two values"
            raise UsageError(msg)
    return found


def expiry_from(text: str | None, fleet: Fleet) -> int | None:
    """Return when something expires, by the fleet's clock. Raises `InvalidRequestError`."""
    return parse_expiry(text, now=fleet.now()) if text else None


def actor() -> str:
    """Return who runs the command, for the audit log."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"
