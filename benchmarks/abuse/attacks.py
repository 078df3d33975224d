"""The attacks there are; a new one is an `Attack` in the tuple of the module that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.abuse.application_attacks import APPLICATION_ATTACKS
from benchmarks.abuse.device_attacks import DEVICE_ATTACKS
from benchmarks.abuse.everyone import EVERYONE
from benchmarks.abuse.http_attacks import HTTP_ATTACKS
from benchmarks.abuse.storing_attacks import STORING_ATTACKS
from benchmarks.abuse.stranger_attacks import STRANGER_ATTACKS
from benchmarks.abuse.websocket_attacks import WEBSOCKET_ATTACKS

if TYPE_CHECKING:
    from benchmarks.abuse.plan import Attack

__all__ = ["ATTACKS"]

ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        *HTTP_ATTACKS,
        *STRANGER_ATTACKS,
        *WEBSOCKET_ATTACKS,
        *DEVICE_ATTACKS,
        *STORING_ATTACKS,
        *APPLICATION_ATTACKS,
        EVERYONE,
    )
}
