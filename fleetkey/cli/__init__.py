"""The command line, and the only place where everything is wired together."""

from fleetkey.cli.main import app, main

__all__ = ["app", "main"]
