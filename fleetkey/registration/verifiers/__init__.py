"""Ways to prove that a serial may register, one file each."""

from fleetkey.registration.verifiers.allowlist import AllowlistVerifier
from fleetkey.registration.verifiers.open import OpenVerifier
from fleetkey.registration.verifiers.verifier import Accepted, Claim, Rejected, Verifier

__all__ = ["Accepted", "AllowlistVerifier", "Claim", "OpenVerifier", "Rejected", "Verifier"]
