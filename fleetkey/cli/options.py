"""What every command takes, and how it gets from there to settings and fleet."""

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

__all__ = ["FleetOptions", "LocalOptions", "actor", "expiry_from", "parse_label", "parse_labels"]

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="FLEETKEY_CONFIG",
        show_envvar=True,
        metavar="FILE",
        help="Settings file; without it, fleetkey.toml in this folder if there is one.",
        rich_help_panel="Common",
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Folder of the registry.", rich_help_panel="Common"),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Work on the server there, through its admin API, with the token in FLEETKEY_TOKEN or --token-file.",
        rich_help_panel="Common",
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="File with the token for --url.", rich_help_panel="Common"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.", rich_help_panel="Common")]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """What a command takes that works on this machine alone."""

    config: ConfigOption = None
    data_dir: DataDirOption = None
    as_json: JsonOption = False

    def settings(self, flags: Mapping[str, Any] | None = None) -> Settings:
        """Load the settings, with what flags say instead. Raises `SettingsError`."""
        return load_settings(self.config, {**(flags or {}), "data_dir": self.data_dir})


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """What a command takes that works on this machine's fleet, or through the admin API on another's."""

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
        """Open the registry of this machine, or with a URL the admin API there, for one command.

        Raises:
            CommandError: there is no registry, and the command makes none.
            SettingsError: of this machine's settings.
            StoreError: of this machine's registry.
            UsageError: the URL can't be used, there is no token, or the options don't go together.
        """
        if self.is_remote():
            with self.remote() as remote:
                yield remote
            return
        with self._management(makes_registry=makes_registry) as management:
            yield management

    def is_remote(self) -> bool:
        """Whether the command works on another machine's fleet. Raises `UsageError`: a token without a URL."""
        if self.url is None and self.token_file is not None:
            msg = "--token-file goes with --url"
            raise UsageError(msg)
        return self.url is not None

    @contextmanager
    def remote(self) -> Iterator[RemoteFleet]:
        """Open the admin API at the URL for one command. Raises `CommandError` as `fleet` does."""
        if self.config is not None or self.data_dir is not None:
            msg = "--url works on another machine's registry; leave out --config and --data-dir"
            raise UsageError(msg)
        from fleetkey.cli.remote import RemoteClient, RemoteFleet, read_token  # noqa: PLC0415 - heavy; other commands do without

        client = RemoteClient(self.url or "", read_token(self.token_file))
        try:
            yield RemoteFleet(client)
        finally:
            client.close()

    @contextmanager
    def _management(self, *, makes_registry: bool) -> Iterator[Management]:
        """Open the registry and put the services over it.

        One that isn't there is made by what puts something into it alone: whoever is in the wrong folder must not take
        an empty fleet for theirs.
        """
        settings = self.settings()
        path = store_path(settings)
        is_new = not path.exists()
        if is_new and not makes_registry:
            msg = f"there is no registry at {path}; say where it is with --config or --data-dir, or see: fleetkey serve"
            raise CommandError(msg)
        store = open_store(settings)
        try:
            yield build_management(settings, store)
        finally:
            store.close()
        if is_new:
            note(f"made a new registry, {path}")


def parse_label(text: str, what: str = "tag") -> tuple[str, str]:
    """Split `name=value`.

    Raises:
        UsageError: there is no `=`, no name, or too much of either.
    """
    name, separator, value = text.partition("=")
    if not separator or not name:
        msg = f"{text!r} is not {'an' if what == 'attribute' else 'a'} {what}; write NAME=VALUE"
        raise UsageError(msg)
    if max(len(name), len(value)) > MAX_LABEL_CHARACTERS or not (name + value).isprintable():
        msg = f"{what} name and value have at most {MAX_LABEL_CHARACTERS} printable characters each"
        raise UsageError(msg)
    return name, value


def parse_labels(texts: Iterable[str] | None, what: str = "tag") -> dict[str, str]:
    """Split each `name=value`. Raises `UsageError`, also for a name with two values."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, value = parse_label(text, what)
        if found.setdefault(name, value) != value:
            msg = f"the {what} {name!r} has two values here"
            raise UsageError(msg)
    return found


def expiry_from(text: str | None, fleet: Fleet) -> int | None:
    """Return when something ends, counted from the fleet's time. Raises `InvalidRequestError`."""
    return parse_expiry(text, now=fleet.now()) if text else None


def actor() -> str:
    """Return who runs the command, for the audit."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"
