"""The command line, and the only place where the parts are wired together."""

from fleetkey.cli.main import app, main

__all__ = ["app", "main"]
