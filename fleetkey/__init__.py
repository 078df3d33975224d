"""Self-hosted self-registration and topic isolation for MQTT fleets."""

__all__ = ["__version__"]

__version__ = "0.1.0"
