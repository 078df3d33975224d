"""Ways to spell somebody else's topics. `{v}` is the victim's device id, `{o}` the attacker's own."""

from __future__ import annotations

__all__ = ["BROKEN_FILTERS", "BROKEN_NAMES", "FOREIGN_FILTERS", "FOREIGN_NAMES", "OWN_LOOKALIKES", "spell"]

FOREIGN_NAMES = {
    "plain": "devices/{v}/state",
    "parent": "devices/{v}",
    "deep": "devices/{v}/a/b/c/d",
    "first_level": "devices",
    "outside": "other/{o}/state",
    "trailing_slash": "devices/{v}/",
    "leading_slash": "/devices/{v}/state",
    "empty_level": "devices//{v}/state",
    "empty_id": "devices//state",
    "only_slashes": "///",
    "upper_case": "DEVICES/{v}/state",
    "upper_case_id": "devices/{V}/state",
    "upper_case_own_prefix": "DEVICES/{o}/state",
    "dot": "devices/./{v}/state",
    "dot_dot": "devices/../devices/{v}/state",
    "dot_dot_own": "devices/../{o}/state",
    "percent_dots": "devices/%2e%2e/devices/{v}/state",
    "percent_slash": "devices%2f{v}%2fstate",
    "percent_nul": "devices/{v}%00/state",
    "backslash": "devices\\{v}\\state",
    "fullwidth_id": "devices/{w}/state",
    "fullwidth_slash": "devices\uff0f{v}\uff0fstate",
    "zero_width": "devices/{v}\u200b/state",
    "byte_order_mark": "\ufeffdevices/{v}/state",
    "combining": "devices/{v}\u0301/state",
    "space": " devices/{v}/state",
    "own_and_more": "devices/{o}x/state",
    "more_and_own": "devices/x{o}/state",
    "own_cut": "devices/{c}/state",
    "own_space": "devices/{o} /state",
    "placeholder": "devices/{{device_id}}/state",
    "dollar_sys": "$SYS/broker/version",
    "dollar_own": "$devices/{o}/state",
    "dollar_share": "$share/group/devices/{v}/state",
}
"""Sound topic names that belong to somebody else, or to nobody."""

BROKEN_NAMES: dict[str, bytes] = {
    "empty": b"",
    "plus": b"devices/+/state",
    "hash": b"devices/#",
    "own_hash": b"devices/{o}/#",
    "nul": b"devices/{o}\x00/../{v}/state",
    "not_utf8": b"devices/{v}/\xff\xfe",
    "surrogate": b"devices/{v}/\xed\xa0\x80",
    "overlong_slash": b"devices\xc0\xaf{v}\xc0\xafstate",
}
"""What MQTT allows in no topic name: a broker may close the connection (MQTT 3.1.1, 4.7.3, 1.5.3)."""

FOREIGN_FILTERS = {
    **FOREIGN_NAMES,
    "everything": "#",
    "everything_below": "+/#",
    "two_levels": "+/+/#",
    "three_levels": "+/+/+",
    "one_level": "+",
    "slash_everything": "/#",
    "all_devices": "devices/#",
    "each_device": "devices/+",
    "each_device_all": "devices/+/#",
    "each_device_state": "devices/+/state",
    "each_device_own_rest": "devices/+/{o}",
    "victim_all": "devices/{v}/#",
    "victim_below": "devices/{v}/+",
    "any_victim": "+/{v}/#",
    "any_own": "+/{o}/#",
    "sys": "$SYS/#",
    "sys_levels": "$SYS/+/+",
    "share_victim": "$share/group/devices/{v}/#",
    "share_own": "$share/group/devices/{o}/#",
    "share_everything": "$share/group/#",
    "queue": "$queue/devices/{v}/#",
}
"""Sound topic filters that reach, or would reach, beyond the attacker's own topics."""

BROKEN_FILTERS: dict[str, bytes] = {
    **{name: value for name, value in BROKEN_NAMES.items() if name not in {"plus", "hash", "own_hash"}},
    "hash_in_the_middle": b"devices/{o}/#/../../{v}/state",
    "hash_first": b"#/state",
    "hash_in_a_level": b"devices/{o}#",
    "plus_in_a_level": b"devices/{o}+/state",
    "plus_and_more": b"devices/+{v}/state",
}

OWN_LOOKALIKES = {
    "dot_dot": "devices/{o}/../{v}/state",
    "percent_dots": "devices/{o}/%2e%2e/{v}/state",
    "empty_levels": "devices/{o}//devices/{v}/state",
    "nested": "devices/{o}/devices/{v}/state",
    "backslash": "devices/{o}/\\..\\{v}/state",
}
"""Names within the attacker's own topics that only look as if they led out: allowed, and nobody else's."""


def spell(trick: str | bytes, *, victim: str, own: str) -> bytes:
    """Fill in the ids."""
    if isinstance(trick, bytes):
        return trick.replace(b"{v}", victim.encode()).replace(b"{o}", own.encode())
    wide = "".join(chr(ord(character) - 0x20 + 0xFF00) for character in victim)
    return trick.format(v=victim, o=own, V=victim.upper(), w=wide, c=own[:-1]).encode()
