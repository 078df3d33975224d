"""The `open` verifier: every serial may register. The worked example of a verifier."""

from __future__ import annotations

from fleetkey.registration.verifiers.verifier import Accepted, Claim

__all__ = ["OpenVerifier"]


class OpenVerifier:
    """Accepts everyone. The settings keep it on loopback unless that is forced, and `serve` warns at start."""

    name = "open"

    async def verify(self, claim: Claim) -> Accepted:
        """Accept."""
        return Accepted()
