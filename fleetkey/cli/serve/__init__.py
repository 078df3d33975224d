"""The server that `fleetkey serve` runs, and that `fleetkey demo` embeds."""
