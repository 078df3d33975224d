"""Who may connect, and which topics they may use; knows no framework and no broker."""

from fleetkey.access.decisions.deciding_pattern import deciding_pattern
from fleetkey.access.decisions.principal import Principal
from fleetkey.access.decisions.response_topics import response_topics
from fleetkey.access.decisions.scope import Action, TopicScope, decide
from fleetkey.access.decisions.shared_filters import is_shared, split_shared
from fleetkey.access.decisions.sharing import Sharing, SharingKind, can_meet, find_sharing
from fleetkey.access.decisions.templates import TopicTemplates
from fleetkey.access.decisions.topics import DEVICE_PLACE, is_topic_filter, is_topic_name
from fleetkey.access.errors import AccessError, OverloadedError, SharedSecretError, TemplateError, UnsafeValueError
from fleetkey.access.factory import build_authenticator, build_worker_pool
from fleetkey.access.login.authenticator import Authenticator
from fleetkey.access.login.outcome import ConnectAttempt, Granted, Refused
from fleetkey.access.login.verification import Verification, VerifiedLogin
from fleetkey.access.protection.allowed_networks import AllowedNetworkError, AllowedNetworks, parse_networks
from fleetkey.access.protection.rate_limits import ExponentialBackoff, RateLimiter, address_bucket
from fleetkey.access.protection.refusal_log import RefusalLog
from fleetkey.access.protection.refusal_recorder import RefusalRecorder
from fleetkey.access.protection.refusal_timing import RefusalTiming
from fleetkey.access.secrets.hashing import hash_secret, new_secret, verify_secret
from fleetkey.access.secrets.hmac_proofs import GroupSecrets, read_shared_secret
from fleetkey.access.secrets.secret import Secret
from fleetkey.access.worker_pool import WorkerPool

__all__ = [
    "DEVICE_PLACE",
    "AccessError",
    "Action",
    "AllowedNetworkError",
    "AllowedNetworks",
    "Authenticator",
    "ConnectAttempt",
    "ExponentialBackoff",
    "Granted",
    "GroupSecrets",
    "OverloadedError",
    "Principal",
    "RateLimiter",
    "RefusalLog",
    "RefusalRecorder",
    "RefusalTiming",
    "Refused",
    "Secret",
    "SharedSecretError",
    "Sharing",
    "SharingKind",
    "TemplateError",
    "TopicScope",
    "TopicTemplates",
    "UnsafeValueError",
    "Verification",
    "VerifiedLogin",
    "WorkerPool",
    "address_bucket",
    "build_authenticator",
    "build_worker_pool",
    "can_meet",
    "decide",
    "deciding_pattern",
    "find_sharing",
    "hash_secret",
    "is_shared",
    "is_topic_filter",
    "is_topic_name",
    "new_secret",
    "parse_networks",
    "read_shared_secret",
    "response_topics",
    "split_shared",
    "verify_secret",
]
