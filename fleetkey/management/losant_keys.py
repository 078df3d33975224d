"""Creating access keys from Losant's JSON, as far as it can be expressed here.

Where the two could differ in meaning, the narrower meaning applies or the document is refused: a key must never
allow more than its author meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from fleetkey.management.errors import InvalidRequestError
from fleetkey.management.keys import ApplicationKeyRequest
from fleetkey.management.schemas.values import Key, KeySecret
from fleetkey.registry import ApplicationScope, KeyStatus

if TYPE_CHECKING:
    from fleetkey.management.keys import CreatedKey

__all__ = ["LosantKey", "LosantKeyAnswer", "losant_answer", "parse_losant_key"]

MAX_DOCUMENT_BYTES = 1024 * 1024
FILTERS = ("none", "all", "whitelist", "blacklist")


class LosantKey(msgspec.Struct, forbid_unknown_fields=True):
    """A Losant document, with Losant's field names."""

    name: str = ""
    description: str = ""
    deviceIds: list[str] = []  # noqa: N815 - the wire's spelling
    deviceTags: list[dict[str, str]] = []  # noqa: N815 - the wire's spelling
    filterType: str | None = None  # noqa: N815 - the wire's spelling
    pubTopics: list[str] = []  # noqa: N815 - the wire's spelling
    subTopics: list[str] = []  # noqa: N815 - the wire's spelling


class LosantKeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A new application key in Losant's format; the secret is shown here and never again."""

    name: str
    description: str
    deviceIds: list[str]  # noqa: N815 - the wire's spelling
    deviceTags: list[dict[str, str]]  # noqa: N815 - the wire's spelling
    filterType: str  # noqa: N815 - the wire's spelling
    pubTopics: list[str]  # noqa: N815 - the wire's spelling
    subTopics: list[str]  # noqa: N815 - the wire's spelling
    key: Key
    secret: KeySecret
    status: KeyStatus

    def __repr__(self) -> str:
        """Show the key, but not its secret."""
        return f"LosantKeyAnswer(key={self.key!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Topics:
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


def parse_losant_key(
    content: bytes, *, sources: tuple[str, ...] = (), expires_at: int | None = None
) -> tuple[LosantKey, ApplicationKeyRequest]:
    """Parse a document and return it with the key that it describes.

    Without `deviceIds` and `deviceTags`: all devices. Several tags: all must match. `filterType` `whitelist`: the
    listed topics in addition; `none`: no additional topics; missing: whichever of the two fits; `all`: every topic,
    only for a key for all devices; `blacklist`: refused.

    Raises:
        InvalidRequestError: it is not such a document, or it can't be expressed here; says what and where.
    """
    if len(content) > MAX_DOCUMENT_BYTES:
        raise InvalidRequestError("document", f"the document is larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        document = msgspec.json.decode(content, type=LosantKey)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError("document", f"the document is not a Losant access key: {error}") from None
    topics = _topics(document)
    tags = tuple(_tag(position, tag) for position, tag in enumerate(document.deviceTags))
    scope = ApplicationScope(
        all_devices=not document.deviceIds and not document.deviceTags,
        device_ids=tuple(dict.fromkeys(document.deviceIds)),
        tags=tags,
        publish=topics.publish,
        subscribe=topics.subscribe,
    )
    request = ApplicationKeyRequest(
        name=document.name, description=document.description, scope=scope, sources=sources, expires_at=expires_at
    )
    return document, request


def losant_answer(document: LosantKey, created: CreatedKey) -> LosantKeyAnswer:
    """Return the document with key, secret and status, as Losant's API does."""
    fields: dict[str, Any] = msgspec.structs.asdict(document)
    fields["filterType"] = document.filterType or ("whitelist" if document.pubTopics or document.subTopics else "none")
    return LosantKeyAnswer(**fields, key=created.key.key, secret=created.secret.reveal(), status=created.key.status)


def _tag(position: int, tag: dict[str, str]) -> tuple[str, str]:
    if set(tag) != {"key", "value"} or not tag["key"] or not tag["value"]:
        raise InvalidRequestError("deviceTags", f"deviceTags[{position}] needs a key and a value, and nothing else")
    return tag["key"], tag["value"]


def _topics(document: LosantKey) -> _Topics:
    listed = _Topics(publish=tuple(document.pubTopics), subscribe=tuple(document.subTopics))
    has_topics = bool(document.pubTopics or document.subTopics)
    match document.filterType:
        case None | "whitelist":
            return listed
        case "none" if has_topics:
            reason = "filterType none allows no pubTopics or subTopics; write whitelist, or leave out the topics"
            raise InvalidRequestError("filterType", reason)
        case "none":
            return _Topics()
        case "all" if document.deviceIds or document.deviceTags:
            reason = (
                "filterType all would let a key for some devices access the topics of the others; "
                "write whitelist with pubTopics and subTopics, or none"
            )
            raise InvalidRequestError("filterType", reason)
        case "all":
            return _Topics(publish=("#",), subscribe=("#",))
        case "blacklist":
            reason = "filterType blacklist is not supported: a scope lists what is allowed; write whitelist"
            raise InvalidRequestError("filterType", reason)
        case _:
            raise InvalidRequestError("filterType", f"filterType must be one of {', '.join(FILTERS)}")
