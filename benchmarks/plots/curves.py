"""What is measured against the size of the fleet, and what its figures are called in the benchmark's output."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CURVES", "SIZES", "Curve", "curve_figure_name"]

SIZES = (100, 1_000, 5_000, 10_000)
"""Devices connected and subscribed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One quantity at every fleet size.

    Args:
        name: in the figures' names.
        unit: of the figures.
        title: above the picture.
        file: the picture's name.
    """

    name: str
    unit: str
    title: str
    file: str


CURVES = (
    Curve(
        name="state", unit="/s", title="State messages a second, QoS 0, every device in turn", file="broker-state.svg"
    ),
    Curve(
        name="growth", unit="/s", title="Connects with a subscription a second, 100 at a time", file="broker-growth.svg"
    ),
    Curve(
        name="connect time",
        unit="ms",
        title="Milliseconds to connect and subscribe, one at a time, median",
        file="broker-connect-time.svg",
    ),
)


def curve_figure_name(curve: Curve, size: int) -> str:
    """Return the name of a curve's figure at a fleet size."""
    return f"broker at {size:,} devices, {curve.name}"
