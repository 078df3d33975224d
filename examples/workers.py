"""One of several workers that share the fleet's states (MQTT 5): each message is handled by one of them.

fleetkey keys create --application backend --all-devices --save credentials/backend.json
python examples/workers.py credentials/backend.json one
python examples/workers.py credentials/backend.json two
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

SESSION_SECONDS = 3600


def on_connect(client: Client, shared: str, _flags: Any, code: Any, _properties: Any) -> None:
    """Join the group, which a worker may do again at each connection."""
    print(f"connected: {code}", flush=True)
    if not code.is_failure:
        client.subscribe(shared, qos=1)


def on_subscribe(_client: Client, shared: str, _number: int, codes: list[Any], properties: Any) -> None:
    """Say whether the broker lets the worker in, and why not."""
    print(f"{shared}: {codes[0]} {getattr(properties, 'ReasonString', '')}".strip(), flush=True)


def on_disconnect(_client: Client, _shared: str, _flags: Any, code: Any, properties: Any) -> None:
    """Say why the connection ended; paho connects again."""
    print(f"disconnected: {code} {getattr(properties, 'ReasonString', '')}".strip(), flush=True)


def on_message(_client: Client, _shared: str, message: MQTTMessage) -> None:
    """Do the work. The message is acknowledged after this, so a worker that dies gets it again when it is back."""
    print(message.topic, message.payload.decode(errors="replace"), flush=True)


def main() -> None:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("credentials", type=Path, help="the file that `fleetkey keys create --save` wrote")
    parser.add_argument("name", help="the worker's name, which no other worker of this key has")
    parser.add_argument("--group", default="states", help="the workers that share messages (default: states)")
    given = parser.parse_args()
    credentials = json.loads(given.credentials.read_text(encoding="utf-8"))
    mqtt = credentials["mqtt"]
    client = Client(
        CallbackAPIVersion.VERSION2,
        # A client id belongs to the key that used it first, so it begins with a part of the key, which is no secret.
        client_id=f"{credentials['key'][:8]}-{given.group}-{given.name}",
        userdata=f"$share/{given.group}/devices/+/state",
        protocol=MQTTProtocolVersion.MQTTv5,
    )
    client.username_pw_set(credentials["key"], credentials["secret"])
    if mqtt["tls"]:
        client.tls_set()
    client.on_connect, client.on_subscribe = on_connect, on_subscribe
    client.on_disconnect, client.on_message = on_disconnect, on_message
    # The session outlives a restart, with what this worker was given and hasn't acknowledged.
    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = SESSION_SECONDS
    client.connect(mqtt["host"], mqtt["port"], clean_start=False, properties=properties)
    client.loop_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
