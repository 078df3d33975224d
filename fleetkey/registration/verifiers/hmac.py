"""The `hmac` verifier: a proof that only the holder of a group secret can create."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from fleetkey.registration.verifiers.verifier import Accepted, Claim, Rejected
from fleetkey.registry import RefusalReason

if TYPE_CHECKING:
    from fleetkey.access import GroupSecrets

__all__ = ["HmacVerifier"]

log = structlog.get_logger(__name__)


class HmacVerifier:
    """Compares the proof with `base64(HMAC-SHA256(group secret, serial))` for every group, in constant time.

    It takes microseconds, so it runs on the event loop. The log says which group matched, so that secrets no longer in
    use can be found and removed.
    """

    name = "hmac"

    def __init__(self, groups: GroupSecrets) -> None:
        self._groups = groups

    async def verify(self, claim: Claim) -> Accepted | Rejected:
        """Accept a proof by any of the group secrets."""
        if claim.proof is None:
            return Rejected(RefusalReason.NO_PROOF)
        group = self._groups.group_of(claim.serial, claim.proof)
        if group is None:
            return Rejected(RefusalReason.WRONG_PROOF)
        log.info("proof_accepted", group=group, serial=claim.serial)
        return Accepted()
