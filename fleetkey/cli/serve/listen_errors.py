"""What to do if the server can't listen on an address."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from fleetkey.broker import ListenerName
from fleetkey.config import STARTER_VARIABLE, Address, parse_address

if TYPE_CHECKING:
    from fleetkey.broker import ListenerError
    from fleetkey.config import MqttSettings

__all__ = ["cannot_listen", "cannot_listen_for_mqtt"]


def cannot_listen_for_mqtt(mqtt: MqttSettings, failed: ListenerError) -> str:
    """Return the sentence for one of the broker's listeners."""
    what, bind, way = {
        ListenerName.TCP: ("MQTT", mqtt.bind, "--mqtt"),
        ListenerName.TLS: ("MQTT over TLS", mqtt.tls_bind, "the setting mqtt.tls_bind"),
        ListenerName.WEBSOCKET: ("MQTT over WebSocket", mqtt.ws_bind, "the setting mqtt.ws_bind"),
    }[failed.listener]
    return cannot_listen(what, bind, failed.error, way)


def cannot_listen(what: str, bind: str, error: OSError, way: str) -> str:
    """Return the sentence for a listener.

    Args:
        what: what can't be served.
        bind: the address.
        error: why.
        way: the option or the setting with which another address is chosen.
    """
    if error.errno == errno.EADDRINUSE:
        reason, advice = "the address is in use", "stop whatever uses it or choose another with"
    elif error.errno == errno.EACCES:
        reason, advice = "no permission to use that port", "choose one above 1023 with"
    else:
        reason, advice = error.strerror or str(error), "choose another address with"
    return f"can't serve {what} on {bind}: {reason}; {advice} {_how(way, bind)}"


def _how(way: str, bind: str) -> str:
    if not way.startswith("--"):
        return way
    if os.environ.get(STARTER_VARIABLE) != "make":
        return f"{way} HOST:PORT"
    address = parse_address(bind)
    # A port that is likely to be free, and needs no permission.
    port = address.port + 1 if 1023 < address.port < 65_535 else 8081  # noqa: PLR2004 - the ports that anyone may use
    return f'make run ARGS="{way} {Address(host=address.host, port=port)}"'
