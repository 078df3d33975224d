"""The commands: `fleetkey NAME` is in the module NAME."""
