"""The checks that `fleetkey doctor` runs."""
