"""`python -m fleetkey.device`: run a device, or use a credentials file to publish or subscribe."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fleetkey import __version__
from fleetkey.device import commands
from fleetkey.device.client import Device
from fleetkey.device.errors import DeviceError
from fleetkey.device.outbox import Message
from fleetkey.device.printer import Printer
from fleetkey.device.tls import trust
from fleetkey.device.topics import check_topic_filter, check_topic_name
from fleetkey.device.versions import MQTT_3_1_1, MQTT_5
from fleetkey.printable import PrintableFormatter, guard_tracebacks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXAMPLES = """\
examples:
  python -m fleetkey.device --serial SN-0001 --url http://127.0.0.1:8080
      register, save credentials/device.json, publish a state every 10 s and print received messages
  python -m fleetkey.device --serial SN-0001 --url http://127.0.0.1:8080 --once
      the same with a single state, then exit; for scripts
  python -m fleetkey.device --credentials credentials/backend.json --subscribe 'devices/+/state' --count 1
  python -m fleetkey.device --credentials credentials/backend.json --publish devices/ID/command '{"name": "start"}'
      with an application key that was saved to a file

Secrets are only read from files, never from the command line, so that no process list shows them. Two
connections with the same device's file disconnect each other: each device needs its own.
exit status: 0 success, 1 refused or failed, 2 wrong usage
"""
DEFAULT_CREDENTIALS = Path("credentials/device.json")
DEFAULT_INTERVAL_SECONDS = 10.0
DEFAULT_ONCE_SECONDS = 30.0
DEFAULT_PUBLISH_SECONDS = 10.0
DEFAULT_QOS = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    if options.verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(PrintableFormatter(logging.BASIC_FORMAT))
        logging.basicConfig(level=logging.INFO, handlers=[handler])
    else:
        # The events on standard error already report this.
        logging.getLogger("fleetkey.device").addHandler(logging.NullHandler())
    printer = Printer(as_json=options.json)
    try:
        _run(parser, options, printer)
    except DeviceError as error:
        printer.error(commands.advice(error))
        return 1
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # The reader of the output has gone, as `head` does. Python would report it again when closing the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace, printer: Printer) -> None:
    tls_context = None if options.ca is None else trust(options.ca)
    if options.publish is not None:
        topic, payload = options.publish
        data = sys.stdin.buffer.read() if payload == "-" else os.fsencode(payload)
        qos = DEFAULT_QOS if options.qos is None else options.qos
        message = Message(topic=topic, payload=data, qos=qos, retain=options.retain)
        timeout_seconds = options.timeout or DEFAULT_PUBLISH_SECONDS
        commands.publish_once(
            options.credentials,
            message,
            printer,
            tls_context=tls_context,
            timeout_seconds=timeout_seconds,
            mqtt_version=options.mqtt_version,
        )
    elif options.subscribe is not None:
        commands.subscribe_to(
            options.credentials,
            options.subscribe,
            printer,
            tls_context=tls_context,
            count=options.count,
            timeout_seconds=options.timeout,
            mqtt_version=options.mqtt_version,
        )
    elif options.once:
        timeout_seconds = options.timeout or DEFAULT_ONCE_SECONDS
        commands.run_device_once(_device_maker(parser, options), printer, timeout_seconds=timeout_seconds)
    else:
        interval_seconds = options.interval or DEFAULT_INTERVAL_SECONDS
        commands.run_device(_device_maker(parser, options), printer, interval_seconds=interval_seconds)


def _make_folder(folder: Path) -> None:
    """Create the directory of a credentials file, accessible only to its owner, unless its parent is missing, too.

    Errors are reported when the file is written.
    """
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700)


def _device_maker(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> Callable[[Callable[[object], object]], Device]:
    def make(tell: Callable[[object], object]) -> Device:
        _make_folder(options.credentials.parent)
        try:
            return Device(
                options.serial,
                options.url,
                options.credentials,
                proof=options.proof,
                on_message=tell,
                on_connected=tell,
                on_error=tell,
                mqtt_version=options.mqtt_version,
                tls_ca_file=options.ca,
            )
        except ValueError as error:
            parser.error(str(error))

    return make


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fleetkey.device",
        description="The reference device, and a client for credentials files.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fleetkey {__version__}")
    parser.add_argument("--json", action="store_true", help="print events as JSON lines")
    parser.add_argument("--verbose", action="store_true", help="log to standard error as well")
    help_text = "credentials file; written by a device (default: credentials/device.json)"
    parser.add_argument("--credentials", metavar="FILE", type=Path, default=DEFAULT_CREDENTIALS, help=help_text)
    parser.add_argument(
        "--ca", metavar="FILE", type=Path, help="PEM file with the only certificate authorities to trust"
    )
    help_text = "the only MQTT version to speak (default: 5, and 3.1.1 with brokers that speak nothing newer)"
    parser.add_argument("--mqtt-version", choices=(MQTT_5, MQTT_3_1_1), help=help_text)
    seconds = _positive(float)
    help_text = "longest wait (--once: 30, --publish: 10), or how long to listen (--subscribe: no end)"
    parser.add_argument("--timeout", metavar="SECONDS", type=seconds, help=help_text)

    device = parser.add_argument_group("run a device")
    device.add_argument("--serial", metavar="S", help="the hardware's identifier")
    device.add_argument("--url", metavar="U", help="the registration server, such as http://127.0.0.1:8080")
    device.add_argument("--proof", metavar="P", help="the proof that the server requires in addition to the serial")
    device.add_argument("--interval", metavar="SECONDS", type=seconds, help="interval between states (default: 10)")
    device.add_argument("--once", action="store_true", help="publish one state, wait until it is delivered, exit")

    use = parser.add_argument_group("use a credentials file")
    use.add_argument(
        "--publish", nargs=2, metavar=("TOPIC", "PAYLOAD"), help="publish one message; - reads standard input"
    )
    use.add_argument("--qos", type=int, choices=(0, 1, 2), help="for --publish (default: 1)")
    use.add_argument("--retain", action="store_true", help="for --publish: the broker retains the message")
    use.add_argument("--subscribe", metavar="FILTER", help="print messages, one line each: topic and payload")
    use.add_argument("--count", metavar="N", type=_positive(int), help="for --subscribe: exit after this many messages")
    return parser


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Exit with status 2 if the options contradict each other."""
    is_device = options.serial is not None or options.url is not None
    if is_device + (options.publish is not None) + (options.subscribe is not None) != 1:
        parser.error("give one of: --serial with --url, --publish, --subscribe")
    if is_device and (options.serial is None or options.url is None):
        parser.error("a device needs both --serial and --url")
    if not is_device and (options.proof is not None or options.interval is not None or options.once):
        parser.error("--proof, --interval and --once need --serial and --url")
    if options.publish is None and (options.qos is not None or options.retain):
        parser.error("--qos and --retain need --publish")
    if options.subscribe is None and options.count is not None:
        parser.error("--count needs --subscribe")
    if is_device and not options.once and options.timeout is not None:
        parser.error("--timeout needs --once, --publish or --subscribe")
    try:
        if options.publish is not None:
            check_topic_name(options.publish[0])
        if options.subscribe is not None:
            check_topic_filter(options.subscribe)
    except ValueError as error:
        parser.error(str(error))


def _positive(kind: type[float | int]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = kind(text)
        if not 0 < number < float("inf"):
            raise ValueError
        return number

    parse.__name__ = f"positive number ({kind.__name__})"
    return parse


def _interrupt(*_: object) -> NoReturn:
    # Ends like Ctrl-C: raised in the main thread, so that every `with` block exits properly.
    raise KeyboardInterrupt


def _prepare_process() -> None:
    guard_tracebacks()
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without UTF-8 is no reason to stop.
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    _prepare_process()
    sys.exit(main())
