"""The registrar, put together from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from fleetkey.access import GroupSecrets, TopicTemplates
from fleetkey.registration.registrar import Registrar
from fleetkey.registration.verifiers import (
    AllowlistVerifier,
    HmacVerifier,
    HttpVerifier,
    OpenVerifier,
    PatternVerifier,
    Verifier,
)
from fleetkey.registry import RefusalListener

if TYPE_CHECKING:
    from fleetkey.access import RefusalRecorder, WorkerPool
    from fleetkey.config import Settings
    from fleetkey.registry import Store

__all__ = ["build_registrar"]

log = structlog.get_logger(__name__)


def build_registrar(
    settings: Settings, store: Store, pool: WorkerPool, *, recorder: RefusalRecorder | None = None
) -> Registrar:
    """Return a registrar with the verifiers in the settings. Without a recorder, refusals have no records.

    Raises:
        TemplateError: a topic pattern in the settings can't be used.
        SharedSecretError: a verifier's secret can't be read or is too short.
    """
    registration = settings.registration
    verifiers: list[Verifier] = []
    for name in dict.fromkeys(registration.verifiers):
        match name:
            case "open":
                log.warning("open_registration", meaning="any serial that asks gets a device and credentials")
                verifiers.append(OpenVerifier())
            case "pattern":
                verifiers.append(PatternVerifier(registration.pattern.serials, pool))
            case "hmac":
                verifiers.append(HmacVerifier(GroupSecrets.from_settings(registration.hmac)))
            case "http":
                verifiers.append(HttpVerifier(registration.http))
            case "allowlist":
                verifiers.append(AllowlistVerifier(store, pool))
    return Registrar(
        store=store,
        pool=pool,
        verifiers=verifiers,
        templates=TopicTemplates.from_settings(settings.topics, settings.profiles),
        settings=registration,
        bcrypt_rounds=settings.access.bcrypt_rounds,
        profiles=settings.profiles,
        recorder=recorder,
        listener=RefusalListener.HTTPS if settings.http.tls_cert else RefusalListener.HTTP,
    )
