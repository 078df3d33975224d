"""Registration over HTTP: `POST /register`, `/health` and the OpenAPI description."""

from fleetkey.registration.app import build_app
from fleetkey.registration.endpoint import MqttEndpoint
from fleetkey.registration.registrar import Registrar, build_registrar
from fleetkey.registration.server import HttpServer

__all__ = ["HttpServer", "MqttEndpoint", "Registrar", "build_app", "build_registrar"]
