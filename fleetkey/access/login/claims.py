"""What a CONNECT claims in addition to its credentials: its address, its client id, and the topic of its will."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access.decisions.scope import Action, TopicScope, decide
from fleetkey.registry import RefusalReason, is_device_id

if TYPE_CHECKING:
    from fleetkey.access.login.outcome import ConnectAttempt
    from fleetkey.access.protection.allowed_networks import AllowedNetworks

__all__ = ["check_claims"]


def check_claims(
    attempt: ConnectAttempt, *, device_id: str | None, scope: TopicScope, allowed_networks: AllowedNetworks
) -> RefusalReason | None:
    """Check the claims of a CONNECT beside its credentials: address, client id and will topic."""
    if not allowed_networks.admits(attempt.address):
        return RefusalReason.WRONG_ADDRESS
    is_left_to_server = attempt.is_mqtt_5 and not attempt.client_id
    if device_id is not None and attempt.client_id != device_id and not is_left_to_server:
        return RefusalReason.WRONG_CLIENT_ID
    if device_id is None and is_device_id(attempt.client_id):
        return RefusalReason.WRONG_CLIENT_ID
    if attempt.will_topic is not None and not decide(scope, Action.PUBLISH, attempt.will_topic):
        return RefusalReason.FOREIGN_WILL
    return None
