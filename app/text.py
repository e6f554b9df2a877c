"""Numbers in words: sizes, counts, durations, rates, as the window shows them everywhere."""

from __future__ import annotations

from datetime import datetime

from core.errors import size as _size

DASH = "–"
_COUNT_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def size(n_bytes: float) -> str:
    """Bytes in binary units with one decimal: 98352304 -> '93.8 MiB'."""
    return _size(n_bytes)


def gib(n_bytes: float) -> str:
    """Bytes as GiB with one decimal, without the unit: 98352304 -> '0.1'."""
    return f"{n_bytes / 2**30:.1f}"


def mib(n_bytes: float) -> str:
    """Bytes as MiB without the unit: three significant digits below ten, one decimal above: 98352304 -> '93.8'."""
    value = n_bytes / 2**20
    return f"{value:,.1f}" if value >= 10 else f"{value:.3g}"


def count(n: float) -> str:
    """A count shortened by thousands with one decimal: 134515008 -> '134.5 M'; exact below 10 000."""
    if abs(n) < 10_000:
        return f"{n:.0f}"
    for scale, unit in _COUNT_UNITS:
        if abs(n) >= scale:
            return f"{n / scale:.1f} {unit}"
    return f"{n:.0f}"


def exact(n: int) -> str:
    """A count with all its digits in groups of three: 134515008 -> '134 515 008' (thin spaces)."""
    return f"{n:,}".replace(",", "\u2009")


def duration(seconds: float) -> str:
    """A time in the two largest units that matter: 80 -> '1 min 20 s', 0.42 -> '0.4 s'."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def remaining(seconds: float) -> str:
    """A time to wait, in whole seconds and never nothing: 0.3 -> '1 s'."""
    return f"{max(round(seconds), 1)} s" if seconds < 59.5 else duration(seconds)


def percent(fraction: float) -> str:
    """A share as a whole percentage: 0.42 -> '42 %'. Never says 100 % before the end."""
    return f"{int(fraction * 100 + 1e-9)} %"


def amount(n: float, unit: str) -> str:
    """An amount in a progress unit: bytes become MiB and so on, others are counted."""
    return size(n) if unit == "bytes" else f"{count(n)} {unit}"


def rate(per_second: float, unit: str) -> str:
    """A speed in a progress unit: '12.3 MiB/s', '4.1 M weights/s'."""
    return f"{amount(per_second, unit)}/s"


def bits(bits_per_weight: float) -> str:
    """Bits per weight with two decimals, without the unit."""
    return f"{bits_per_weight:.2f}"


def number(value: float) -> str:
    """A measured number with four significant digits."""
    return f"{value:.4g}"


def moment(epoch_s: float) -> str:
    """A point in time: the hour alone where it is today, else the date too."""
    then = datetime.fromtimestamp(epoch_s)
    if then.date() == datetime.now().date():
        return then.strftime("%H:%M")
    return then.strftime("%Y-%m-%d %H:%M")
