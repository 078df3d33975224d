"""A back end with nothing but paho-mqtt: hears every device's state and answers each with a command.

fleetkey keys create --application backend --all-devices --save credentials/backend.json
python examples/backend.py credentials/backend.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion


def on_connect(client: Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
    """Subscribe at each connection: the broker forgets a clean session's subscriptions."""
    print(f"connected: {code}", flush=True)
    if not code.is_failure:
        client.subscribe("devices/+/state", qos=1)


def on_message(client: Client, _data: Any, message: MQTTMessage) -> None:
    """Print a state and send a command to the device that it came from."""
    print(message.topic, message.payload.decode(errors="replace"), flush=True)
    device_id = message.topic.split("/")[1]
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    command = {"name": "thanks", "payload": None, "time": {"$date": now}}
    client.publish(f"devices/{device_id}/command", json.dumps(command), qos=1)


def main() -> None:
    """Run until Ctrl-C; paho reconnects by itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("credentials", type=Path, help="the file that `fleetkey keys create --save` wrote")
    credentials = json.loads(parser.parse_args().credentials.read_text(encoding="utf-8"))
    mqtt = credentials["mqtt"]
    # A client id belongs to the key that uses it; it must not look like a device id (24 hex digits).
    client = Client(CallbackAPIVersion.VERSION2, client_id="example-backend")
    client.username_pw_set(credentials["key"], credentials["secret"])
    if mqtt["tls"]:
        client.tls_set()
    client.on_connect = on_connect
    client.on_message = on_message
    client.connect(mqtt["host"], mqtt["port"])
    client.loop_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
