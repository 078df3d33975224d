"""Viewing and changing the allow-list, and computing proofs for the factory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fleetkey.access import GroupSecrets
from fleetkey.config.labels import LabelError, check_labels, check_name
from fleetkey.management.errors import InvalidRequestError, SerialFileError
from fleetkey.management.filters import SerialFilter
from fleetkey.management.pages import Batch, EncodedPage, check_limit, fill_page, parse_serial_cursor, serial_cursor
from fleetkey.management.patterns import parse_serial_pattern
from fleetkey.management.scans import Scans
from fleetkey.management.schemas import AddedAnswer, SerialAnswer
from fleetkey.management.serial_files import MAX_SHOWN_ERRORS, SerialFormat, read_serials
from fleetkey.registry import InvalidSerialError, parse_serial

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from fleetkey.access import Secret
    from fleetkey.config import HmacSettings
    from fleetkey.registry import ListedSerial, SerialConflict
    from fleetkey.registry.store import Serials

__all__ = ["SerialService", "prove_serial"]

PAGE = 500
EVERY_SERIAL = SerialFilter()
MAX_SHOWN_CHARACTERS = 40
"""How much of a serial is shown in an error."""


class SerialService:
    """Lists and changes the allow-list. Every method blocks; every change is audited in its own transaction.

    Every method may raise `InvalidSerialError`, `NotFoundError`, `InvalidRequestError` and `StoreError`.
    """

    def __init__(self, store: Serials, *, profiles: Collection[str]) -> None:
        self._store = store
        self._profiles = frozenset(profiles)

    def add(self, serials: Iterable[str | ListedSerial], *, actor: str) -> AddedAnswer:
        """Add serials: all of them or none.

        Raises:
            InvalidRequestError: says which of them is invalid, and why.
            ConflictingSerialError: two entries for one serial contradict each other.
        """
        return AddedAnswer.of(self._store.add_serials(map(self._checked, enumerate(serials)), actor=actor))

    def import_file(
        self,
        stream: BinaryIO,
        serial_format: SerialFormat,
        *,
        actor: str,
        on_progress: Callable[[int], None] | None = None,
    ) -> AddedAnswer:
        """Add the serials in a file, all of them or none, in bounded memory; `on_progress` takes how many were read.

        Raises:
            SerialFileError: some lines are invalid, or contradict each other about a serial.
        """
        wrong: list[SerialFileError] = []

        def entries() -> Iterator[tuple[int, str | ListedSerial]]:
            try:
                yield from read_serials(stream, serial_format, profiles=self._profiles)
            except SerialFileError as error:
                # Raised later, with contradictions between lines. `check` is called before any serial is added.
                wrong.append(error)

        def check(conflicts: Sequence[SerialConflict]) -> None:
            contradictions = [
                (found.second, f"{found.serial!r} is already on line {found.first}, with other details")
                for found in conflicts
            ]
            if wrong or contradictions:
                errors = sorted([*(wrong[0].errors if wrong else ()), *contradictions])
                has_more = len(errors) > MAX_SHOWN_ERRORS or any(error.has_more for error in wrong)
                raise SerialFileError(errors[:MAX_SHOWN_ERRORS], has_more=has_more)

        return AddedAnswer.of(self._store.add_serials(entries(), actor=actor, on_progress=on_progress, check=check))

    def _checked(self, numbered: tuple[int, str | ListedSerial]) -> str | ListedSerial:
        number, entry = numbered
        serial = entry if isinstance(entry, str) else entry.serial
        try:
            parse_serial(serial)
            if not isinstance(entry, str):
                check_name(entry.name)
                check_labels(entry.tags, "tag")
                check_labels(entry.attributes, "attribute")
                self._check_profile(entry.profile)
        except (InvalidSerialError, LabelError) as error:
            # With several serials, the error must say which.
            where = f"serials[{number}]"
            raise InvalidRequestError(where, f"{where} ({_shortened(serial)}): {error}") from None
        return entry

    def _check_profile(self, profile: str | None) -> None:
        if profile is not None and profile not in self._profiles:
            msg = f"there is no profile {profile[:64]!r} in the settings"
            raise LabelError(msg)

    def page(
        self, wanted: SerialFilter = EVERY_SERIAL, *, cursor: str | None = None, limit: int = 100
    ) -> EncodedPage[SerialAnswer]:
        """Return a page of listed serials, in order, continuing from the cursor of an earlier page."""
        return fill_page(
            self._every if wanted == EVERY_SERIAL else self._matching(wanted),
            start=parse_serial_cursor(cursor),
            limit=check_limit(limit),
            show=SerialAnswer.of,
            position=lambda listed: listed.serial,
            cursor=serial_cursor,
        )

    def _every(self, after: str, count: int) -> Batch[ListedSerial, str]:
        found = self._store.list_serials(after=after, limit=count)
        return Batch(items=found, reached=found[-1].serial if len(found) == count else None)

    def _matching(self, wanted: SerialFilter) -> Callable[[str, int], Batch[ListedSerial, str]]:
        pattern = parse_serial_pattern(wanted.serial_pattern)
        query = partial(
            self._store.scan_serials, used=wanted.used, matches=None if pattern is None else pattern.matches
        )
        return partial(Scans().read, query)

    def iterate(self, wanted: SerialFilter = EVERY_SERIAL) -> Iterator[SerialAnswer]:
        """Yield all listed serials that match, in order, in bounded memory."""
        cursor: str | None = None
        while True:
            page = self.page(wanted, cursor=cursor, limit=PAGE)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def remove(self, serial: str, *, actor: str) -> None:
        """Remove a serial from the list; a device that registered with it stays."""
        self._store.remove_serial(serial, actor=actor)


def prove_serial(hmac: HmacSettings, serial: str, *, group: str | None = None) -> tuple[str, Secret]:
    """Return the group, and the proof that a serial needs under the `hmac` verifier. Needs no registry.

    `group` may be omitted if there is only one.

    Raises:
        InvalidRequestError: there is no such group, or there are several and none was named.
        InvalidSerialError: the serial is invalid.
        SharedSecretError: a group secret can't be read.
    """
    secrets = GroupSecrets.from_settings(hmac)
    if not secrets.names:
        reason = "there is no group secret; set [registration.hmac] secrets or secret_files"
        raise InvalidRequestError("group", reason)
    if group is None and len(secrets.names) > 1:
        raise InvalidRequestError("group", f"name a group: {', '.join(secrets.names)}")
    chosen = secrets.names[0] if group is None else group
    if chosen not in secrets.names:
        raise InvalidRequestError(
            "group", f"there is no group {chosen[:64]!r}; the groups are: {', '.join(secrets.names)}"
        )
    return chosen, secrets.prove(parse_serial(serial), chosen)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…")
