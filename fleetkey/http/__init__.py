"""Serving HTTP: the server and its bounds, the application, bodies, problems, health, metrics and OpenAPI."""

from fleetkey.http.app import build_app
from fleetkey.http.server import HttpServer

__all__ = ["HttpServer", "build_app"]
