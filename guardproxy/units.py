"""Durations, sizes, shares and moments as people write them.

Decides the spelling (`250ms`, `16MiB`, `30%`) in both directions. Which unit a key takes is left to its reader.
"""

import re
from datetime import UTC, datetime
from typing import Final

_DURATIONS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES: Final = {
    "B": 1,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
}
_QUANTITY: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s?([A-Za-z]{1,3})")


def parse_duration(text: str) -> float:
    """Read `250ms`, `10s`, `15m`, `4h` or `2d` as seconds. Raises ValueError with a sentence for the operator."""
    amount, unit = _quantity(text, "a duration such as 250ms, 10s, 15m, 4h or 2d")
    if unit not in _DURATIONS:
        raise ValueError(f"{text!r} is not a duration; write ms, s, m, h or d behind the number, such as 10s")
    return amount * _DURATIONS[unit]


def parse_size(text: str) -> int:
    """Read `512KiB` or `16MiB` as bytes. Raises ValueError with a sentence for the operator."""
    amount, unit = _quantity(text, "a size such as 512KiB or 16MiB")
    if unit not in _SIZES:
        raise ValueError(f"{text!r} is not a size; write B, KiB, MiB or GiB behind the number, such as 16MiB")
    return int(amount * _SIZES[unit])


def parse_share(text: str) -> float:
    """Read `30%` as 0.3. Raises ValueError with a sentence for the operator."""
    match = re.fullmatch(r"(-?[0-9]{1,15}(?:\.[0-9]{1,12})?)\s?%", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a share such as 30%")
    return float(match.group(1)) / 100


def format_duration(seconds: float) -> str:
    """Write seconds in the largest unit that gives at least one, such as `4h` or `90s`."""
    for unit in ("d", "h", "m", "s"):
        amount = seconds / _DURATIONS[unit]
        if amount >= 1 and amount == int(amount):
            return f"{int(amount)}{unit}"
    return f"{seconds:.0f}s" if seconds >= 1 else f"{seconds * 1000:.0f}ms"


def format_moment(at: float) -> str:
    """Write Unix seconds as RFC 3339 in UTC, such as `2024-03-01T09:30:00Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def format_size(size: int) -> str:
    """Write bytes in the largest binary unit that gives a whole number, such as `16MiB`."""
    for unit in ("GiB", "MiB", "KiB"):
        if size >= _SIZES[unit] and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return f"{size}B"


def _quantity(text: str, expected: str) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not {expected}")
    return float(match.group(1)), match.group(2)
