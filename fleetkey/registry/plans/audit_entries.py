"""Audit entries for changes that involve no other decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registry.model import AuditEntry
from fleetkey.registry.plans.reasons import joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetkey.registry.model import SerialsAdded, Token

__all__ = [
    "MAX_NAMED_SERIALS",
    "application_key_created",
    "serial_removed",
    "serials_added",
    "token_created",
    "token_revoked",
]

MAX_NAMED_SERIALS = 10
"""How many serials the audit entry of an addition names; of more, it only records the number."""


def serials_added(added: SerialsAdded, serials: Sequence[str], *, actor: str) -> AuditEntry:
    """Return the entry of an addition to the allow-list.

    Args:
        added: the result.
        serials: the serials, each once; empty if there were more than `MAX_NAMED_SERIALS`.
        actor: who added them.
    """
    reason = f"added={added.added} known={added.known} replaced={added.replaced}"
    if len(serials) > 1:
        reason += f" serials={joined(serials)}"
    return AuditEntry(
        actor=actor,
        action="serials_added",
        outcome="ok",
        reason=reason,
        serial=serials[0] if len(serials) == 1 else None,
    )


def serial_removed(serial: str, *, actor: str) -> AuditEntry:
    """Return the entry of a serial that was removed from the allow-list."""
    return AuditEntry(actor=actor, action="serial_removed", outcome="ok", serial=serial)


def application_key_created(key: str, name: str, *, actor: str) -> AuditEntry:
    """Return the entry of a new application key."""
    return AuditEntry(actor=actor, action="application_key_created", outcome="ok", reason=name, key=key)


def token_created(token: Token, *, actor: str) -> AuditEntry:
    """Return the entry of a new token."""
    return AuditEntry(actor=actor, action="token_created", outcome="ok", reason=_token_text(token))


def token_revoked(token: Token, *, actor: str) -> AuditEntry:
    """Return the entry of a token that was revoked."""
    return AuditEntry(actor=actor, action="token_revoked", outcome="ok", reason=_token_text(token))


def _token_text(token: Token) -> str:
    # The id first, since a name may contain anything printable.
    return f"id={token.token_id} role={token.role} name={token.name}"
