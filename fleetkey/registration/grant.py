"""What a new device gets: what the verifiers said, over what its profile says."""

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
    """Return the grant with what one more verifier said: the later goes before the earlier."""
    return replace(
        grant,
        name=said.name or grant.name,
        profile=said.profile or grant.profile,
        tags={**grant.tags, **said.tags},
        attributes={**grant.attributes, **said.attributes},
    )


class Profiles:
    """The profiles of the settings, found by name or by serial."""

    def __init__(self, profiles: Mapping[str, ProfileSettings]) -> None:
        """Compile the profiles' patterns. Raises `PatternError`."""
        self._profiles = dict(profiles)
        self._patterns = [
            (name, SerialPattern(profile.serials)) for name, profile in profiles.items() if profile.serials
        ]

    @property
    def has_patterns(self) -> bool:
        """Whether a serial is held against patterns, which is work for a thread."""
        return bool(self._patterns)

    def apply(self, grant: Grant, serial: str) -> Grant | None:
        """Return the grant over its profile, or over the first one whose pattern the serial has; None: refuse.

        A profile that isn't there, or more labels than a device may have, is refused: nobody said that the device
        may have less.
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
    )
