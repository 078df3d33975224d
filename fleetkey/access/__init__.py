"""Who may connect, and which topics: pure decisions, no framework."""

from fleetkey.access.authenticator import Authenticator
from fleetkey.access.beat import RefusalBeat
from fleetkey.access.errors import AccessError, HashPoolFullError, SharedSecretError, TemplateError, UnsafeValueError
from fleetkey.access.hashing import HashPool, hash_secret, new_secret, verify_secret
from fleetkey.access.limits import AttemptLimiter, GrowingDelays, address_bucket
from fleetkey.access.outcome import ConnectAttempt, Granted, Refusal, Refused
from fleetkey.access.principal import Principal
from fleetkey.access.proofs import GroupSecrets, read_shared_secret
from fleetkey.access.scope import Action, TopicScope, decide
from fleetkey.access.secret import Secret
from fleetkey.access.sources import SourceError, SourceList, parse_sources
from fleetkey.access.templates import TopicTemplates
from fleetkey.access.topics import is_topic_filter, is_topic_name
from fleetkey.access.wiring import build_authenticator, build_hash_pool

__all__ = [
    "AccessError",
    "Action",
    "AttemptLimiter",
    "Authenticator",
    "ConnectAttempt",
    "Granted",
    "GroupSecrets",
    "GrowingDelays",
    "HashPool",
    "HashPoolFullError",
    "Principal",
    "Refusal",
    "RefusalBeat",
    "Refused",
    "Secret",
    "SharedSecretError",
    "SourceError",
    "SourceList",
    "TemplateError",
    "TopicScope",
    "TopicTemplates",
    "UnsafeValueError",
    "address_bucket",
    "build_authenticator",
    "build_hash_pool",
    "decide",
    "hash_secret",
    "is_topic_filter",
    "is_topic_name",
    "new_secret",
    "parse_sources",
    "read_shared_secret",
    "verify_secret",
]
