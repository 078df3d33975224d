"""Whether the settings work together, and what they leave open to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access import GroupSecrets, SharedSecretError, TemplateError, TopicTemplates, read_shared_secret
from fleetkey.cli.doctor.findings import Finding, Verdict
from fleetkey.cli.doctor.permissions import private_file
from fleetkey.config import parse_address
from fleetkey.registry import DevicePolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.config import Settings

__all__ = ["exposure", "shared_secrets", "topics"]


def topics(settings: Settings) -> Iterator[Finding]:
    """Check the topic patterns, and that the settings provide every tag they need."""
    try:
        templates = TopicTemplates.from_settings(settings.topics, settings.profiles)
    except TemplateError as error:
        yield Finding("topics", Verdict.FAILED, str(error), "Correct the topic patterns in that setting.")
        return
    patterns = ", ".join(dict.fromkeys((*templates.publish, *templates.subscribe, *templates.of_profiles)))
    yield Finding("topics", Verdict.OK, patterns)
    for whose, policy, tags in (
        ("without a profile", DevicePolicy(), {}),
        *(
            (f"of profile {name}", DevicePolicy(publish=profile.publish, subscribe=profile.subscribe), profile.tags)
            for name, profile in settings.profiles.items()
        ),
    ):
        missing = templates.of_policy(policy).missing_tags(tags)
        if missing:
            detail = f"the topics of devices {whose} need tags that the settings don't provide: {', '.join(missing)}"
            advice = (
                "Devices without these tags are refused until they have them. Set tags in the allow-list's CSV, in your"
                " API's response or in the profile, or run: fleetkey devices tag."
            )
            yield Finding("topic tags", Verdict.WARNING, detail, advice)


def shared_secrets(settings: Settings) -> Iterator[Finding]:
    """Check that the verifiers' secrets can be used and that only this user can read them."""
    registration = settings.registration
    try:
        if "hmac" in registration.verifiers:
            groups = GroupSecrets.from_settings(registration.hmac)
            yield Finding("group secrets", Verdict.OK, ", ".join(groups.names))
        if "http" in registration.verifiers and registration.http.secret_file is not None:
            read_shared_secret("registration.http.secret_file", path=registration.http.secret_file)
    except SharedSecretError as error:
        advice = "Create it with: openssl rand -hex 32. Only this user should be able to read the file."
        yield Finding("shared secret", Verdict.FAILED, str(error), advice)
        return
    for path in (*registration.hmac.secret_files.values(), registration.http.secret_file):
        yield from private_file(path)


def exposure(settings: Settings) -> Iterator[Finding]:
    """Warn of secrets that travel unencrypted, and of registration that is open to strangers."""
    http, mqtt = settings.http, settings.mqtt
    if not http.address.is_loopback and http.tls_cert is None and not http.trusted_proxies:
        yield Finding(
            "exposure",
            Verdict.WARNING,
            f"registration on {http.bind} sends secrets without TLS",
            "Set [http] tls_cert and tls_key, or put a TLS proxy in front and list it in trusted_proxies.",
        )
    if mqtt.bind and not parse_address(mqtt.bind).is_loopback:
        yield Finding(
            "exposure",
            Verdict.WARNING,
            f"MQTT on {mqtt.bind} carries secrets without TLS",
            "Set [mqtt] tls_bind, tls_cert and tls_key, and set bind to '' or a loopback address.",
        )
    verifiers = set(settings.registration.verifiers)
    if verifiers == {"open"}:
        yield Finding(
            "exposure",
            Verdict.WARNING,
            "any serial may register",
            'Use verifiers = ["allowlist"] for anything but a trial.',
        )
    elif verifiers <= {"open", "pattern"} and not settings.registration.require_approval:
        yield Finding(
            "exposure",
            Verdict.WARNING,
            "anyone who guesses a serial that matches the pattern may register",
            "Add hmac, http or allowlist to verifiers, or set require_approval = true.",
        )
