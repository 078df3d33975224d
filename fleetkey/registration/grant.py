"""What a new device gets: the values from the verifiers, on top of its profile's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fleetkey.config import SerialPattern
from fleetkey.config.labels import MAX_LABELS
from fleetkey.registry import DevicePolicy, Reregistration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetkey.config import ProfileSettings
    from fleetkey.registration.verifiers import Accepted

__all__ = ["Grant", "Profiles", "merge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a device gets if this registration creates it."""

    name: str = ""
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    policy: DevicePolicy = field(default_factory=DevicePolicy)
    require_approval: bool | None = None


def merge(grant: Grant, said: Accepted) -> Grant:
    """Return the grant with the values of one more verifier; a later verifier overrides an earlier one."""
    return replace(
        grant,
        name=said.name or grant.name,
        profile=said.profile or grant.profile,
        tags={**grant.tags, **said.tags},
        attributes={**grant.attributes, **said.attributes},
    )


class Profiles:
    """The profiles in the settings, looked up by name or by serial."""

    def __init__(self, profiles: Mapping[str, ProfileSettings]) -> None:
        """Compile the profiles' patterns. Raises `PatternError`."""
        self._profiles = dict(profiles)
        self._patterns = [
            (name, SerialPattern(profile.serials)) for name, profile in profiles.items() if profile.serials
        ]

    @property
    def has_patterns(self) -> bool:
        """Whether serials are matched against patterns, which belongs in a thread."""
        return bool(self._patterns)

    def apply(self, grant: Grant, serial: str) -> Grant | None:
        """Return the grant on top of its profile, or of the first profile whose pattern matches; None = refuse.

        An unknown profile, or more labels than a device may have, is refused: issuing credentials with fewer
        restrictions or labels than intended would not fail closed.
        """
        chosen = grant.profile or self._by_serial(serial)
        if chosen is None:
            return _bounded(grant)
        profile = self._profiles.get(chosen)
        if profile is None:
            return None
        return _bounded(
            replace(
                grant,
                name=grant.name or profile.name.replace("{profile}", chosen),
                profile=chosen,
                tags={**profile.tags, **grant.tags},
                attributes={**profile.attributes, **grant.attributes},
                policy=_policy(profile),
                require_approval=profile.require_approval,
            )
        )

    def _by_serial(self, serial: str) -> str | None:
        return next((name for name, pattern in self._patterns if pattern.matches(serial)), None)


def _bounded(grant: Grant) -> Grant | None:
    return grant if max(len(grant.tags), len(grant.attributes)) <= MAX_LABELS else None


def _policy(profile: ProfileSettings) -> DevicePolicy:
    return DevicePolicy(
        reregistration=Reregistration(profile.reregistration) if profile.reregistration else None,
        grace_seconds=profile.grace_seconds,
        max_keys=profile.max_keys,
        key_lifetime_seconds=profile.key_lifetime_seconds,
        publish=profile.publish,
        subscribe=profile.subscribe,
        max_messages_per_second=profile.max_messages_per_second,
        max_bytes_per_second=profile.max_bytes_per_second,
    )
