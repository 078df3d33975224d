"""The smallest device: registers once, remembers, publishes a state every ten seconds, prints its commands.

mkdir -p -m 700 credentials
python examples/device.py SN-0001 http://127.0.0.1:8080 credentials/device.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from fleetkey.device import Device, DeviceError, Message


def on_message(message: Message) -> None:
    """Print what comes in, but for our own state, which our topics include."""
    if not message.topic.endswith("/state"):
        print(message.topic, message.payload.decode(errors="replace"), flush=True)


def on_error(error: DeviceError) -> None:
    """Say what the device goes on after."""
    print(error, file=sys.stderr, flush=True)


def main() -> None:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("serial", help="what the device registers with")
    parser.add_argument("url", help="where registration is, such as http://127.0.0.1:8080")
    parser.add_argument("credentials", help="the file that remembers its credentials")
    given = parser.parse_args()
    started = time.monotonic()
    with Device(given.serial, given.url, given.credentials, on_message=on_message, on_error=on_error) as device:
        while True:
            if device.wait_connected(60):
                state = {"data": {"uptime_seconds": int(time.monotonic() - started)}}
                device.publish(device.topic("state"), json.dumps(state), qos=1)
                time.sleep(10)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
    except (DeviceError, ValueError) as error:
        sys.exit(str(error))
