"""The ways to prove that a serial may register, one per file."""

from fleetkey.registration.verifiers.allowlist import AllowlistVerifier
from fleetkey.registration.verifiers.hmac import HmacVerifier
from fleetkey.registration.verifiers.http import HttpVerifier
from fleetkey.registration.verifiers.open import OpenVerifier
from fleetkey.registration.verifiers.pattern import PatternVerifier
from fleetkey.registration.verifiers.verifier import Accepted, Claim, Rejected, Undecided, Verifier

__all__ = [
    "Accepted",
    "AllowlistVerifier",
    "Claim",
    "HmacVerifier",
    "HttpVerifier",
    "OpenVerifier",
    "PatternVerifier",
    "Rejected",
    "Undecided",
    "Verifier",
]
