"""What is due, in order, without a look at what isn't."""

from __future__ import annotations

from fleetkey.broker.due_slots import SPARE_SLOTS, DueSlots


def test_over_in_order_and_bounded() -> None:
    """What is due first comes first, so many at once; it stays until it is taken out."""
    slots = DueSlots[str]()
    for number in (7, 2, 9, 0, 4, 1, 8, 3, 6, 5):
        slots.add(f"s{number}", float(number))
    everything = [f"s{number}" for number in range(10)]
    assert slots.over(-1, most=5) == []
    assert slots.over(3, most=10) == everything[:4]
    assert slots.over(100, most=3) == slots.over(100, most=3) == everything[:3]
    for name in everything[:3]:
        slots.discard(name)
    assert slots.over(100, most=3) == everything[3:6]
    assert len(slots) == 7


def test_up_to_a_second_later() -> None:
    """Those of one second are due together, at its end and not before."""
    slots = DueSlots[str]()
    slots.add("a", 1.2)
    slots.add("b", 1.9)
    assert slots.over(1.95, most=10) == []
    assert slots.over(2.0, most=10) == ["a", "b"]


def test_added_again() -> None:
    """An item that is added again is due at the newer time alone; letting one go twice changes nothing."""
    slots = DueSlots[str]()
    slots.add("first", 1.0)
    slots.add("second", 2.0)
    slots.add("first", 3.0)
    assert slots.over(2.5, most=10) == ["second"]
    assert slots.over(3.0, most=10) == ["second", "first"]
    slots.discard("second")
    slots.discard("second")
    slots.add("second", 4.0)
    assert slots.over(5.0, most=10) == ["first", "second"]


def test_nothing_left_over() -> None:
    """Slots that are empty take no room, however many different times there were."""
    slots = DueSlots[int]()
    for number in range(1_000):
        slots.add(0, float(number))
        assert len(slots._slots) == 1
        assert len(slots._order) <= 2 + SPARE_SLOTS
    slots.discard(0)
    assert not slots._slots
    assert slots.over(2_000, most=1) == []
    slots.add(1, 5.0)
    slots.discard(1)
    slots.add(2, 5.0)
    assert slots.over(5.0, most=10) == [2]
