"""Registration over HTTP: `POST /register`."""

from fleetkey.registration.registrar import Registrar, build_registrar
from fleetkey.registration.route import register_route

__all__ = ["Registrar", "build_registrar", "register_route"]
