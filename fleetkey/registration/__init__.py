"""Registration over HTTP: `POST /register`, `/health`, the admin API and the OpenAPI description."""

from fleetkey.registration.api import build_api, build_api_pools
from fleetkey.registration.app import build_app
from fleetkey.registration.registrar import Registrar, build_registrar
from fleetkey.registration.server import HttpServer

__all__ = ["HttpServer", "Registrar", "build_api", "build_api_pools", "build_app", "build_registrar"]
