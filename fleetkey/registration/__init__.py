"""Registration over HTTP: `POST /register`."""

from fleetkey.registration.factory import build_registrar
from fleetkey.registration.registrar import Registrar
from fleetkey.registration.route import register_route

__all__ = ["Registrar", "build_registrar", "register_route"]
